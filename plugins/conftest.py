"""Fixtures of the plugins' tests that need a server of somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.plugins.redis_server import RedisServer, started


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server for one test."""
    server = started("redis-server", tmp_path)
    yield server
    server.kill()
