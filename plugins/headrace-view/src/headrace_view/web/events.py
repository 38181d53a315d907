"""Server-sent events: the figures of a run or of all runs, whenever they change."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse

from headrace_view.index import Totals
from headrace_view.runs import Runs, ViewedRun
from headrace_view.web.documents import Draw, encode_json, figures_document, totals_document
from headrace_view.web.run_watch import RunWatch, SeenRun
from headrace_view.web.steering import LiveRuns

_EVERY, _EVERY_OF_ALL = 0.5, 1.0
"""Seconds between two looks at one run, and at all."""

_PAUSE, _LONGEST_PAUSE = 1.0, 5.0
"""The least and the most seconds between two events, if only numbers have changed."""

_TIMES_COST = 40
"""The pause after an event is so many times longer than it took to make: that takes long if there is much to
draw, or if the machine is busy."""

_COMMENT_AFTER = 20
"""Looks without a change, after which a comment shows that the connection works."""

_STATUS = ("state", "rate", "total", "counted", "time_left")
"""What the table of all runs shows of the snapshot of one."""


class Looked(NamedTuple):
    """What a look has seen.

    Attributes:
        state: What a person is told at once if it has changed.
        numbers: What may be told a little later if it has changed.
        document: Makes the event.
    """

    state: Any
    numbers: Any
    document: Callable[[], dict[str, Any]]


class Events:
    """The endpoints of the events.

    Args:
        runs: The runs.
        live: Those that are alive, for their snapshots.
        draw: Draws the charts.
        content: Whether answers are shown.
    """

    def __init__(self, runs: Runs, live: LiveRuns, draw: Draw, *, content: bool) -> None:
        self._runs = runs
        self._watch = RunWatch(live)
        self._draw = draw
        self._content = content
        self._figures: dict[int, tuple[Totals, dict[str, Any]]] = {}

    async def stream(self, request: Request) -> StreamingResponse:
        """Answer with events about a run until the page closes the connection."""
        run = await anyio.to_thread.run_sync(self._runs.get, request.path_params["run"])
        if run is None:
            raise HTTPException(404, "no such run")
        return _response(partial(self._look, run), _EVERY)

    async def stream_all(self, request: Request) -> StreamingResponse:
        """Answer with events about all runs, together and each, until the page closes the connection."""
        return _response(self._look_at_all, _EVERY_OF_ALL)

    def _look(self, run: ViewedRun) -> Looked:
        (seen,) = self._watch.look([run], time.time())

        def document() -> dict[str, Any]:
            figures = totals_document(run.builder.totals, self._draw, live=seen.live, content=self._content)
            return {**figures, **_progress([run]), **_state(seen), "status": seen.status}

        state = run.builder.error, run.builder.is_whole, _state(seen), _said(seen.status)
        return Looked(state, (run.builder.version, run.size, seen.status), document)

    def _look_at_all(self) -> Looked:
        runs = self._runs.ask_for_all()
        every = []
        whole = None if self._runs.whole is None else self._watch.snapshot(self._runs.whole)
        for run, seen in zip(runs, self._watch.look(runs, time.time()), strict=True):
            about = {"run": run.number, "name": run.name, "status": _short(seen.status)}
            every.append({**about, **_state(seen), **_progress([run]), **self._figures_of(run)})

        def document() -> dict[str, Any]:
            totals = Totals.of_all(run.builder.totals for run in runs if run.is_known)
            live = whole is not None or any(each["live"] for each in every)
            figures = totals_document(totals, self._draw, live=live, content=False)
            return {**figures, **_progress(runs), "status": whole, "runs": every}

        state = [(each["live"], each["killed"], each["error"], _said(each["status"])) for each in every]
        return Looked((state, _said(whole)), (every, whole), document)

    def _figures_of(self, run: ViewedRun) -> dict[str, Any]:
        """The figures of a run, which are made anew only if it has changed."""
        totals = run.builder.totals if run.is_known else Totals()
        known, figures = self._figures.get(run.number, (None, {}))
        if known is not totals:
            figures = figures_document(totals)
            self._figures[run.number] = totals, figures
        return figures


def _state(seen: SeenRun) -> dict[str, bool]:
    return {"live": seen.live, "killed": seen.state == "killed"}


def _said(status: Mapping[str, Any] | None) -> Any:
    """What a run says that it does."""
    return None if status is None else (status.get("state"), status.get("limits"))


def _short(status: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if status is None else {name: status.get(name) for name in _STATUS}


def _progress(runs: list[ViewedRun]) -> dict[str, Any]:
    """How far the outputs are read, in bytes, and why one cannot be."""
    builders = [run.builder for run in runs if run.is_known]
    return {
        "indexed": sum(builder.indexed for builder in builders),
        "size": sum(run.size for run in runs),
        "error": next((builder.error for builder in builders if builder.error), ""),
    }


def _response(look: Callable[[], Looked], every: float) -> StreamingResponse:
    return StreamingResponse(_events(look, every), media_type="text/event-stream")


async def _events(look: Callable[[], Looked], every: float) -> AsyncIterator[bytes]:
    sent: Looked | None = None
    unchanged, next_at = 0, 0.0
    while True:
        seen = await anyio.to_thread.run_sync(look)
        is_new = sent is None or seen.state != sent.state
        if is_new or (anyio.current_time() >= next_at and sent is not None and seen.numbers != sent.numbers):
            began = anyio.current_time()
            content = await anyio.to_thread.run_sync(seen.document)
            yield b"data: " + encode_json(content) + b"\n\n"
            cost = anyio.current_time() - began
            next_at = anyio.current_time() + min(max(_PAUSE, _TIMES_COST * cost), _LONGEST_PAUSE)
            sent, unchanged = seen, 0
        elif (unchanged := unchanged + 1) % _COMMENT_AFTER == 0:
            yield b": nothing new\n\n"
        await anyio.sleep(every)
