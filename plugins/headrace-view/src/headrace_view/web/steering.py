"""What the page asks of a live run: its snapshot, and with buttons changes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio.to_thread
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from headrace import HeadraceError
from headrace_view.runs import Runs

_LONGEST = 1 << 16
"""Bytes of a change."""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of a run that the page asks for; ``name`` and ``value`` are those of a limit, for "set"."""

    type: Literal["pause", "resume", "stop", "set"]
    name: str = ""
    value: str = ""


class RunGone(HeadraceError):
    """Nothing listens any more where a run took messages.

    Args:
        socket_left: Whether its socket is there, as of a killed run.
    """

    def __init__(self, *, socket_left: bool) -> None:
        super().__init__("the run does not listen any more; it has ended")
        self.socket_left = socket_left


class LiveRuns(Protocol):
    """The runs that are alive, by their outputs; the methods may block."""

    def status(self, out: Path) -> Mapping[str, Any] | None:
        """The snapshot of the run that writes to an output; None if there is none, but it may be alive.

        Raises:
            RunGone: It took messages, and nothing listens any more.
        """

    def change(self, out: Path, change: Change) -> str:
        """Change the run that writes to an output.

        Returns:
            What follows from it, as a sentence for a person.

        Raises:
            HeadraceError: No run is alive, or it refuses the change.
        """


class NoLiveRuns:
    """Knows of no run that is alive."""

    def status(self, out: Path) -> Mapping[str, Any] | None:
        """None."""
        return None

    def change(self, out: Path, change: Change) -> str:
        """Raise `HeadraceError`."""
        raise HeadraceError(f"{out}: no run is alive; begin it again with the same command")


class Steering:
    """The endpoint that changes a live run.

    Args:
        runs: The runs of the page.
        live: Those that are alive.
    """

    def __init__(self, runs: Runs, live: LiveRuns) -> None:
        self._runs = runs
        self._live = live

    async def change(self, request: Request) -> Response:
        """Send a change to the run, and answer with what follows from it."""
        run = self._runs.get(request.path_params["run"])
        if run is None:
            raise HTTPException(404, "no such run")
        return await self._change(run.journal, request)

    async def change_whole(self, request: Request) -> Response:
        """Send a change to the run that all outputs are shards of."""
        if (out := self._runs.whole) is None:
            raise HTTPException(404, "the outputs are of several runs; choose one")
        return await self._change(out, request)

    async def _change(self, out: Path, request: Request) -> Response:
        if request.headers.get("content-type") != "application/json":
            raise HTTPException(415, "must be JSON")
        try:
            change = msgspec.json.decode(await _body(request), type=Change)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HTTPException(400, f"not a change of a run: {error}") from None
        try:
            said = await anyio.to_thread.run_sync(self._live.change, out, change)
        except HeadraceError as error:
            raise HTTPException(409, str(error)) from None
        return Response(msgspec.json.encode({"message": said}), media_type="application/json")


async def _body(request: Request) -> bytes:
    """The body of a request, which has a bounded length."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _LONGEST:
            raise HTTPException(413, "too long for a change of a run")
    return content
