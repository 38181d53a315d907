"""Changes of a live run by the buttons of the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from headrace import HeadraceError
from headrace_view.web import Change
from view_lines import make_line, write_output
from view_requests import get, opened, post


@pytest.fixture
def anyio_backend() -> str:
    """The server of the page runs on asyncio only."""
    return "asyncio"


class FakeRuns:
    """A live run that keeps what it is asked for."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def status(self, out: Path) -> Mapping[str, Any] | None:
        return {"state": "running"}

    def change(self, out: Path, change: Change) -> str:
        if change.type == "set" and not change.value.isdecimal():
            raise HeadraceError(f"{change.name}: must be a number")
        self.changes.append(change)
        return f"did {change.type}"


@pytest.mark.anyio
async def test_a_live_run_is_changed_only_with_buttons(tmp_path: Path) -> None:
    out = write_output(tmp_path / "out.jsonl", [make_line(1)])
    live = FakeRuns()
    with opened(out, live=live) as app:
        assert (await post(app, "runs/0/control", {"type": "pause"}))[0] == 404
    with opened(out, live=live, control=True) as app:
        assert (await get(app, "runs"))["control"]
        assert await post(app, "runs/0/control", {"type": "pause"}) == (200, '{"message":"did pause"}')
        change = {"type": "set", "name": "max-in-flight", "value": "40"}
        assert (await post(app, "runs/0/control", change))[0] == 200
        assert await post(app, "runs/0/control", {**change, "value": "x"}) == (
            409,
            "max-in-flight: must be a number",
        )
        for body in ({"type": "delete"}, {"type": "pause", "more": 1}, b"\xff", b"[" * 5000):
            assert (await post(app, "runs/0/control", body))[0] == 400
        assert (await post(app, "runs/0/control", {"type": "stop"}, "text/plain"))[0] == 415
        assert (await post(app, "runs/9/control", {"type": "stop"}))[0] == 404
        assert (await post(app, "runs/0/control", b" " * 100_000))[0] == 413
    assert live.changes == [Change("pause"), Change("set", "max-in-flight", "40")]
    with opened(out, control=True) as app:
        assert (await post(app, "runs/0/control", {"type": "stop"}))[0] == 409
