"""How long a connection may be idle, by the server's Keep-Alive header."""

from __future__ import annotations

import re

_TIMEOUT = re.compile(rb"(?i)\btimeout\s*=\s*(\d{1,9})\b")

_SAFETY_MARGIN = 1.0
"""Seconds before a server's idle timeout: a request sent later might cross with the server's close."""


def idle_seconds(keep_alive: bytes) -> float | None:
    """How long a connection may be idle: the ``timeout=5`` of the header, less the safety margin."""
    found = _TIMEOUT.search(keep_alive)
    return max(0.0, int(found[1]) - _SAFETY_MARGIN) if found else None
