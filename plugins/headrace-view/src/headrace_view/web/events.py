"""Server-sent events: the figures of a run, whenever they change."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse

from headrace_view.runs import Runs, ViewedRun
from headrace_view.web.documents import Draw, totals_document
from headrace_view.web.steering import LiveRuns

_EVERY = 0.5
"""Seconds between two looks at the index."""

_COMMENT_AFTER = 20
"""Looks without a change, after which a comment shows that the connection works."""


class Events:
    """The endpoint of the events.

    Args:
        runs: The runs.
        live: Those that are alive, for their snapshots.
        draw: Draws the charts.
        content: Whether answers are shown.
    """

    def __init__(self, runs: Runs, live: LiveRuns, draw: Draw, *, content: bool) -> None:
        self._runs = runs
        self._live = live
        self._draw = draw
        self._content = content

    async def stream(self, request: Request) -> StreamingResponse:
        """Answer with events until the page closes the connection."""
        run = await anyio.to_thread.run_sync(self._runs.get, request.path_params["run"])
        if run is None:
            raise HTTPException(404, "no such run")
        return StreamingResponse(self._events(run), media_type="text/event-stream")

    async def _events(self, run: ViewedRun) -> AsyncIterator[bytes]:
        sent: Any = None
        unchanged = 0
        while True:
            grows = run.is_growing(time.time())
            status = await anyio.to_thread.run_sync(self._live.status, run.journal)
            state = (run.builder.version, run.builder.size, run.builder.error, grows, status)
            if state != sent:
                document = await anyio.to_thread.run_sync(self._document, run, grows or status is not None)
                yield b"data: " + msgspec.json.encode({**document, "status": status}) + b"\n\n"
                sent, unchanged = state, 0
            elif (unchanged := unchanged + 1) % _COMMENT_AFTER == 0:
                yield b": nothing new\n\n"
            await anyio.sleep(_EVERY)

    def _document(self, run: ViewedRun, live: bool) -> dict[str, Any]:
        return totals_document(run.builder, self._draw, live=live, content=self._content)
