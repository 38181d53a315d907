"""When the page gets events: at once if the state of a run changes, and else not too often."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from headrace_view.runs import Runs
from headrace_view.web import NoLiveRuns, RunGone
from headrace_view.web.events import Events, Looked, _events
from view_lines import encode, make_line, write_output


class Over(Exception):
    """The test has seen enough, and ends the events."""


@pytest.fixture
def anyio_backend() -> str:
    """The server of the page runs on asyncio only."""
    return "asyncio"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("cost", "looks", "wanted"),
    [
        # A look: when, the state, the numbers.
        pytest.param(0.01, [(0, "a", 1), (0.5, "a", 2), (1.1, "a", 3)], [0, 1.1], id="numbers wait a second"),
        pytest.param(0.01, [(0, "a", 1), (0.5, "b", 1), (0.6, "b", 2)], [0, 0.5], id="a state does not wait"),
        pytest.param(0.01, [(0, "a", 1), (9, "a", 1)], [0], id="nothing is said twice"),
        pytest.param(0.05, [(0, "a", 1), (1.9, "a", 2), (2.1, "a", 3)], [0, 2.1], id="costly"),
        pytest.param(3.0, [(0, "a", 1), (7.9, "a", 2), (8.1, "a", 3)], [0, 8.1], id="very costly"),
    ],
)
async def test_events_are_not_too_many(
    monkeypatch: pytest.MonkeyPatch, cost: float, looks: list[tuple[float, str, int]], wanted: list[float]
) -> None:
    left, now = iter(looks), 0.0
    monkeypatch.setattr(anyio, "current_time", lambda: now)

    def document() -> dict[str, Any]:
        nonlocal now
        began, now = now, now + cost
        return {"at": began}

    def look() -> Looked:
        nonlocal now
        try:
            now, state, numbers = next(left)
        except StopIteration:
            raise Over from None
        return Looked(state, numbers, document)

    async def read() -> None:
        async for event in _events(look, 0):
            sent.append(json.loads(event.removeprefix(b"data: "))["at"])  # noqa: PERF401 - an error ends it

    sent: list[float] = []
    with pytest.raises(Over):
        await read()
    assert sent == wanted


class EndedRuns(NoLiveRuns):
    """Runs of which the sockets refuse."""

    def status(self, out: Path) -> None:
        raise RunGone(socket_left=False)


def test_a_run_whose_socket_refuses_is_not_live_and_a_growing_one_is(tmp_path: Path) -> None:
    out = write_output(tmp_path / "out.jsonl", [make_line(1)])
    runs = Runs([out])
    run = runs.get(0)
    assert run
    for live, is_live in ((NoLiveRuns(), True), (EndedRuns(), False)):
        events = Events(runs, live, lambda buckets, **options: {}, content=True)
        for seen in (events._look(run), events._look_at_all()):
            found = seen.document()
            assert (found["live"], found.get("killed", False), found["rows"]) == (is_live, False, 1)
    with out.open("ab") as file:
        file.write(encode([make_line(2)]))
    assert events._look(run).document()["live"]
    runs.close()
