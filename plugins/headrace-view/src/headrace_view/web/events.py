"""Server-sent events: the figures of a run or of all runs, whenever they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse

from headrace_view.index import Totals
from headrace_view.runs import Runs, ViewedRun
from headrace_view.web.documents import Draw, charts_document, figures_document, totals_document
from headrace_view.web.event_stream import Looked, stream_events
from headrace_view.web.run_watch import RunWatch, SeenRun
from headrace_view.web.steering import LiveRuns

_EVERY, _EVERY_OF_ALL = 0.5, 1.0
"""Seconds between two looks at one run, and at all."""

_SHOWN = (
    "state",
    "rate",
    "total",
    "counted",
    "time_left",
    "in_flight",
    "waiting",
    "circuits",
    "limits",
    "engine_status",
)
"""What the page shows of the snapshot of a run."""

_SHORT = _SHOWN[:5]
"""What the table of all runs shows of it."""

_OF_TIME = ("rate", "time_left")
"""The fields that change while nothing is done. If only these change, no event is sent."""


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
        status = _part(seen.status, _SHOWN)

        def figures() -> dict[str, Any]:
            totals = totals_document(run.builder.totals, content=self._content)
            return {**totals, **_progress([run]), **_state(seen), "status": status}

        def charts() -> Mapping[str, str]:
            return charts_document(run.builder.totals, self._draw, live=seen.live)

        version = run.builder.version
        state = run.builder.error, _state(seen), _said(status)
        return Looked(state, (version, _progress([run]), _lasting(status)), version, figures, charts)

    def _look_at_all(self) -> Looked:
        runs = self._runs.ask_for_all()
        every = {}
        snapshot = None if self._runs.whole is None else self._watch.snapshot(self._runs.whole)
        whole = _part(snapshot, _SHOWN)
        for run, seen in zip(runs, self._watch.look(runs, time.time()), strict=True):
            about = {"run": run.number, "name": run.name, "status": _part(seen.status, _SHORT)}
            every[run.number] = {**about, **_state(seen), **_progress([run]), **self._figures_of(run)}
        live = whole is not None or any(each["live"] for each in every.values())

        def totals() -> Totals:
            return Totals.of_all(run.builder.totals for run in runs if run.is_known)

        def figures() -> dict[str, Any]:
            about = {"live": live, **_progress(runs), "status": whole, "runs": every}
            return {**totals_document(totals(), content=False), **about}

        def charts() -> Mapping[str, str]:
            return charts_document(totals(), self._draw, live=live)

        state = [
            (each["live"], each["killed"], each["error"], _said(each["status"])) for each in every.values()
        ]
        versions = [run.builder.version for run in runs if run.is_known]
        numbers = [{**each, "status": _lasting(each["status"])} for each in every.values()]
        return Looked((state, _said(whole)), (numbers, _lasting(whole)), versions, figures, charts)

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


def _part(status: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    return None if status is None else {name: status.get(name) for name in names}


def _lasting(status: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if status is None else {name: each for name, each in status.items() if name not in _OF_TIME}


def _progress(runs: list[ViewedRun]) -> dict[str, Any]:
    """How far the outputs are read, in bytes, and why one cannot be."""
    builders = [run.builder for run in runs if run.is_known]
    return {
        "indexed": sum(builder.indexed for builder in builders),
        "size": sum(run.size for run in runs),
        "error": next((builder.error for builder in builders if builder.error), ""),
    }


def _response(look: Callable[[], Looked], every: float) -> StreamingResponse:
    return StreamingResponse(stream_events(look, every), media_type="text/event-stream")
