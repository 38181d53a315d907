"""Fixtures for runs in virtual time."""

from __future__ import annotations

import pytest

from batch_runs import run_at_once


@pytest.fixture
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run at once what would run in a thread, during which a virtual clock would jump ahead."""
    monkeypatch.setattr("anyio.to_thread.run_sync", run_at_once)
