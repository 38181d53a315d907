"""How long a connection may be idle, as its server says."""

from __future__ import annotations

import re

_TIMEOUT = re.compile(rb"(?i)\btimeout\s*=\s*(\d{1,9})\b")
_ON_THE_WAY = 1.0
"""Seconds before a server's idle timeout in which a request might cross with its close."""


def idle_seconds(keep_alive: bytes) -> float | None:
    """How long a server that sends ``timeout=5, max=100`` lets a connection be idle, less the way there."""
    found = _TIMEOUT.search(keep_alive)
    return max(0.0, int(found[1]) - _ON_THE_WAY) if found else None
