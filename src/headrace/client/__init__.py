"""The client: calls of the API, maps and streams."""

from headrace.client.client import Client

__all__ = ["Client"]
