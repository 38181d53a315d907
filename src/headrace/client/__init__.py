"""The client: its API methods, maps and streams."""

from headrace.client.client import Client

__all__ = ["Client"]
