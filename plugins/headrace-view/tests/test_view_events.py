"""When the page gets events, and what they have: a change of the state at once, numbers not too often."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from headrace_view.runs import Runs
from headrace_view.web import NoLiveRuns, RunGone
from headrace_view.web.event_stream import Looked, stream_events
from headrace_view.web.events import Events
from view_lines import encode, make_line, write_output


class Over(Exception):
    """The test has seen enough, and ends the events."""


@pytest.fixture
def anyio_backend() -> str:
    """The server of the page runs on asyncio only."""
    return "asyncio"


class Look(NamedTuple):
    """What a look sees: when, the state, the numbers, and how many rows the charts are drawn from."""

    at: float
    state: str
    numbers: int
    rows: int = 0


async def told(
    monkeypatch: pytest.MonkeyPatch, looks: list[Look], *, cost: float = 0.01
) -> list[tuple[float, dict[str, Any]]]:
    """When there were events, and what they had; figures and charts take ``cost`` seconds each to make."""
    left, now = iter(looks), 0.0
    monkeypatch.setattr(anyio, "current_time", lambda: now)

    def look() -> Looked:
        nonlocal now
        try:
            seen = next(left)
        except StopIteration:
            raise Over from None
        now = seen.at
        figures = {"live": True, "state": seen.state, "numbers": seen.numbers}
        charts = {"throughput": f"{seen.rows} rows", "cost": "no cost"}
        return Looked(seen.state, seen.numbers, seen.rows, lambda: take(figures), lambda: take(charts))

    def take(made: dict[str, Any]) -> dict[str, Any]:
        nonlocal now
        now += cost
        return dict(made)

    async def read() -> None:
        async for event in stream_events(look, 0):
            sent.append((began(), json.loads(event.removeprefix(b"data: "))))  # noqa: PERF401 - an error ends it

    def began() -> float:
        return max(each.at for each in looks if each.at <= now)

    sent: list[tuple[float, dict[str, Any]]] = []
    with pytest.raises(Over):
        await read()
    return sent


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("cost", "looks", "wanted"),
    [
        pytest.param(0.01, [(0, "a", 1), (0.5, "a", 2), (1.1, "a", 3)], [0, 1.1], id="numbers wait a second"),
        pytest.param(0.01, [(0, "a", 1), (0.5, "b", 1), (0.6, "b", 2)], [0, 0.5], id="a state does not wait"),
        pytest.param(0.01, [(0, "a", 1), (9, "a", 1), (99, "a", 1)], [0], id="nothing is said twice"),
        pytest.param(0.05, [(0, "a", 1), (1.9, "a", 2), (2.2, "a", 3)], [0, 2.2], id="costly"),
        pytest.param(3.0, [(0, "a", 1), (7.9, "a", 2), (11.1, "a", 3)], [0, 11.1], id="very costly"),
    ],
)
async def test_events_are_not_too_many(
    monkeypatch: pytest.MonkeyPatch, cost: float, looks: list[tuple[float, str, int]], wanted: list[float]
) -> None:
    sent = await told(monkeypatch, [Look(*each) for each in looks], cost=cost)
    assert [at for at, _ in sent] == wanted


@pytest.mark.anyio
async def test_an_event_has_what_has_changed_and_charts_come_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = [
        Look(0, "a", 1, 1),
        Look(2, "a", 2, 2),
        Look(4, "a", 3, 2),
        Look(6, "a", 3, 2),
        Look(7, "b", 4, 3),
    ]
    first = {"at_once": True, "live": True, "state": "a", "numbers": 1}
    assert await told(monkeypatch, looks) == [
        (0, {**first, "charts": {"throughput": "1 rows", "cost": "no cost"}}),
        (2, {"at_once": False, "numbers": 2}),
        (4, {"numbers": 3}),
        (6, {"charts": {"throughput": "2 rows"}}),
        (7, {"at_once": True, "state": "b", "numbers": 4, "charts": {"throughput": "3 rows"}}),
    ]


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
            found = seen.figures()
            assert (found["live"], found.get("killed", False), found["rows"]) == (is_live, False, 1)
    with out.open("ab") as file:
        file.write(encode([make_line(2)]))
    assert events._look(run).figures()["live"]
    runs.close()


class PausedRun(NoLiveRuns):
    """A run in which only the time goes on."""

    def __init__(self) -> None:
        self.time = 0.0

    def status(self, out: Path) -> dict[str, Any]:
        self.time += 1
        return {"state": "paused", "time": self.time, "rate": 7 / self.time, "time_left": 9 * self.time}


def test_a_run_that_does_nothing_is_no_event(tmp_path: Path) -> None:
    runs = Runs([write_output(tmp_path / "out.jsonl", [make_line(1)])])
    run = runs.get(0)
    assert run
    events = Events(runs, PausedRun(), lambda buckets, **options: {}, content=True)
    looks: list[Callable[[], Looked]] = [partial(events._look, run), events._look_at_all]
    for look in looks:
        first, second = look(), look()
        assert (first.state, first.numbers, first.rows) == (second.state, second.numbers, second.rows)
    runs.close()
