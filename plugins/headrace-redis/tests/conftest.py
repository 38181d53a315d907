"""The fixture of these tests."""

from redis_server import redis

__all__ = ["redis"]
