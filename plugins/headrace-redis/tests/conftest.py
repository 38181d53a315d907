"""The fixture of the tests here."""

from redis_server import redis

__all__ = ["redis"]
