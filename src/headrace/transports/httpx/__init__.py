"""The transport over an httpx (or httpx2) client."""

from __future__ import annotations

from headrace.transports.httpx.transport import HttpxTransport

__all__ = ["HttpxTransport"]
