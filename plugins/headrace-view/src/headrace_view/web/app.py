"""The application: its page, and its API, which answers with JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib import resources
from typing import Any, TypeVar

import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.bulk import read_run_facts
from headrace.pages import page_style
from headrace_view.charts import render_charts
from headrace_view.index import (
    SHOWN,
    QueryError,
    RowQuery,
    compare,
    count_rows,
    find_pairs,
    find_rows,
    line_of,
    open_for_reading,
)
from headrace_view.prompts import find_prompt
from headrace_view.runs import Runs, ViewedRun
from headrace_view.web.comparing import OpenComparisons, compared, compared_rows, without_content
from headrace_view.web.documents import Draw, bounded, encode_json, row_document
from headrace_view.web.events import Events
from headrace_view.web.steering import LiveRuns, NoLiveRuns, Steering

T = TypeVar("T")

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class _Number(IntegerConvertor):
    """The number of a run or a row, as far as SQLite has such numbers."""

    regex = "[0-9]{1,18}"


register_url_convertor("number", _Number())


def make_app(
    runs: Runs,
    *,
    content: bool = True,
    live: LiveRuns | None = None,
    control: bool = False,
    draw: Draw = render_charts,
) -> Starlette:
    """The application, to be put behind a `Guard`.

    Args:
        runs: The runs that it shows; something else lets them `Runs.step`.
        content: Whether prompts and answers are shown.
        live: The runs that are alive; None for none.
        control: Whether the page may change live runs.
        draw: Draws the charts.
    """
    api = _Api(runs, content)
    alive = live or NoLiveRuns()
    events = Events(runs, alive, draw, content=content)
    routes = [
        Route("/", _asset("index.html")),
        Route("/static/base.css", _served(page_style().encode(), "text/css")),
        *(Route(f"/static/{name}", _asset(name)) for name in _asset_names()),
        Route("/api/runs", api.runs(control=control)),
        Route("/api/runs/{run:number}/facts", api.answer(api.facts)),
        Route("/api/runs/{run:number}/rows", api.answer(api.rows)),
        Route("/api/runs/{run:number}/count", api.answer(api.count)),
        Route("/api/runs/{run:number}/rows/{row:number}", api.answer(api.row)),
        Route("/api/runs/{run:number}/rows/{row:number}/prompt", api.answer(api.prompt)),
        Route("/api/runs/{run:number}/compare/{other:number}", api.answer(api.pairs)),
        Route("/api/runs/{run:number}/compare/{other:number}/count", api.answer(api.comparison)),
        Route("/api/runs/{run:number}/compare/{other:number}/rows/{row:number}", api.answer(api.pair)),
        Route("/api/runs/{run:number}/events", events.stream),
        Route("/api/all/events", events.stream_all),
    ]
    if control:
        steering = Steering(runs, alive)
        routes += [
            Route("/api/runs/{run:number}/control", steering.change, methods=["POST"]),
            Route("/api/all/control", steering.change_whole, methods=["POST"]),
        ]
    return Starlette(routes=routes)


def _asset_names() -> list[str]:
    return [each.name for each in (resources.files(__package__) / "static").iterdir() if each.is_file()]


def _asset(name: str) -> Callable[[Request], Response]:
    """An endpoint that returns a file of the page."""
    content = (resources.files(__package__) / "static" / name).read_bytes()
    return _served(content, _TYPES[name.rpartition(".")[2]])


def _served(content: bytes, media_type: str) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return endpoint


class _Api:
    """The endpoints that read; each runs in a worker thread, with a connection of its own."""

    def __init__(self, runs: Runs, content: bool) -> None:
        self._runs = runs
        self._content = content
        self._comparisons = OpenComparisons()

    def runs(self, *, control: bool) -> Callable[[Request], Response]:
        """The endpoint that lists the runs, and what the page may do."""

        def runs(request: Request) -> Response:
            self._runs.look_for_more()
            listed = [{"run": run.number, "name": run.name} for run in self._runs.all]
            whole = None if self._runs.whole is None else self._runs.whole.name
            return as_json({"runs": listed, "whole": whole, "content": self._content, "control": control})

        return runs

    def answer(self, make: Callable[[ViewedRun, Request], Any]) -> Callable[[Request], Any]:
        """An endpoint that answers with what ``make`` returns."""

        def make_in_thread(request: Request) -> Response:
            run = self._runs.get(request.path_params["run"])
            if run is None:
                raise HTTPException(404, "no such run")
            try:
                return as_json(make(run, request))
            except QueryError as error:
                raise HTTPException(400, str(error)) from None
            except sqlite3.Error as error:
                raise HTTPException(503, f"the index cannot be read now: {error}") from None

        async def answer(request: Request) -> Response:
            return await anyio.to_thread.run_sync(make_in_thread, request, abandon_on_cancel=True)

        return answer

    def facts(self, run: ViewedRun, request: Request) -> Any:
        """What the sidecar says about the run."""
        return read_run_facts(run.shard_of or run.journal, content=self._content)

    def rows(self, run: ViewedRun, request: Request) -> Any:
        """A page of rows."""
        query = self._query(request)
        with open_for_reading(run.place.database) as connection:
            found = find_rows(connection, query)
        for row in found if not self._content else ():
            row.answer = row.message = ""
        return {"rows": found, "reachable": query.reachable, "whole": run.builder.is_whole}

    def count(self, run: ViewedRun, request: Request) -> Any:
        """How many rows there are of a query."""
        with open_for_reading(run.place.database) as connection:
            number, exact = count_rows(connection, self._query(request))
        return {"number": number, "exact": exact}

    def _query(self, request: Request) -> RowQuery:
        return RowQuery.of_parameters(request.query_params, names_only=not self._content)

    def row(self, run: ViewedRun, request: Request) -> Any:
        """All of a row."""
        return row_document(self._line(run, request), content=self._content)

    def prompt(self, run: ViewedRun, request: Request) -> Any:
        """What was sent for a row."""
        if not self._content:
            raise HTTPException(403, "prompts are not shown: --no-content")
        prompt = find_prompt(run.shard_of or run.journal, self._line(run, request))
        messages = [(str(each.get("role", "")), bounded(_content(each))) for each in prompt.messages or []]
        row = [(name, bounded(value)) for name, value in (prompt.row or {}).items()]
        return {"note": prompt.note, "input": prompt.input, "row": row, "messages": messages}

    def _line(self, run: ViewedRun, request: Request) -> Any:
        with open_for_reading(run.place.database) as connection:
            line = line_of(connection, run.journal, request.path_params["row"])
        if line is None:
            raise HTTPException(404, "this row has a newer line now, or its output was replaced")
        return line

    def pairs(self, run: ViewedRun, request: Request) -> Any:
        """A page of the items of two runs, with what differs in their answers marked."""
        shown = request.query_params.get("show", "different")
        page = request.query_params.get("page", "0")
        if shown not in SHOWN or not page.isdecimal() or len(page) > 9:
            raise QueryError(f"show: must be one of {', '.join(SHOWN)}; page: must be a number from 0")
        other = self._other(request)
        whole = run.builder.is_whole and other.builder.is_whole
        search = self._query(request).match
        with self._comparisons.open(run, other) as (connection, known):
            found = find_pairs(connection, known, shown, int(page), search)
        pairs = list(compared(run, other, found) if self._content else without_content(found))
        return {"pairs": pairs, "whole": whole}

    def pair(self, run: ViewedRun, request: Request) -> Any:
        """All of the rows of an item in two runs."""
        row = request.path_params["row"]
        found = compared_rows(run, self._other(request), row, content=self._content)
        if found is None:
            raise HTTPException(404, "this row is not in both runs now, or has a newer line")
        return found

    def comparison(self, run: ViewedRun, request: Request) -> Any:
        """How many answers differ."""
        with self._comparisons.open(run, self._other(request)) as (connection, known):
            found = compare(connection, known)
        shown = {"same": found.same, "failed": found.failed_in_one, "all": found.both}
        return {**msgspec.to_builtins(found), **shown}

    def _other(self, request: Request) -> ViewedRun:
        other = self._runs.get(request.path_params["other"])
        if other is None:
            raise HTTPException(404, "no such run")
        return other


def _content(message: Any) -> Any:
    """The text of a message that was sent; parts that are no text are JSON."""
    return message.get("content") if isinstance(message, dict) else message


def as_json(value: Any) -> Response:
    """A response with JSON."""
    return Response(encode_json(value), media_type="application/json")
