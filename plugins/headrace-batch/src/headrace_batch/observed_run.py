"""The batches of a run, seen from outside: its ledger is read and not written."""

from __future__ import annotations

import glob
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import anyio

from headrace import Client, JournalError
from headrace.bulk import DirectCalls, run_identity
from headrace_batch.batch_api import EndpointApi
from headrace_batch.dialect import BatchState, BatchView
from headrace_batch.engine import batch_folder
from headrace_batch.known_dialects import dialect_of
from headrace_batch.ledger import LEDGER, read_ledger
from headrace_batch.part import Part, Stage
from headrace_batch.part_steps import BatchMissing, attempt, batch_of

_FIRST_POLL, _POLL_GROWTH = 1.0, 1.5
_FEW, _MANY = 3, 15
"""Attempts of a request for a person who looks on, and for one who waits anyway."""

_SETTLED = {Stage.SETTLED, Stage.KEPT}


class ObservedRun:
    """The parts of a run, and the batches that were seen.

    Args:
        parts: The parts.
        apis: The endpoints by URL.
    """

    def __init__(self, parts: list[Part], apis: dict[str, EndpointApi]) -> None:
        self._parts = parts
        self._apis = apis
        self._seen: dict[int, BatchView] = {}
        self._missing: set[int] = set()

    def _created(self) -> list[Part]:
        created = (part for part in self._parts if part.batch is not None and part.stage is Stage.CREATED)
        return [part for part in created if part.number not in self._missing]

    async def look(self, most: int = _FEW) -> None:
        """Look at all batches whose end was not seen yet, each with at most ``most`` attempts."""
        for part in self._created():
            seen = self._seen.get(part.number)
            if seen is None or seen.state is BatchState.RUNNING:
                try:
                    self._seen[part.number] = await batch_of(part, self._apis[part.endpoint], most)
                except BatchMissing:
                    self._missing.add(part.number)

    def _running(self) -> list[Part]:
        seen = self._seen
        return [part for part in self._created() if seen[part.number].state is BatchState.RUNNING]

    async def wait(self, poll: float, tell: Callable[[str], None]) -> None:
        """Wait until all batches have ended."""
        pause, told = min(_FIRST_POLL, poll), ""
        while True:
            await self.look(_MANY)
            if not self._running():
                return
            if (text := self._progress()) != told:
                told = text
                tell(text)
            await anyio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(_POLL_GROWTH * pause, poll)

    async def cancel(self) -> int:
        """Cancel all batches that run, and return their number."""
        await self.look()
        running = self._running()
        for part in running:
            api, id = self._apis[part.endpoint], part.batch or ""
            await attempt(
                lambda api=api, id=id: api.cancel(id),  # type: ignore[misc]
                f"part {part.number}: cancel its batch",
                _FEW,
            )
        return len(running)

    def _progress(self) -> str:
        finished = sum(self._seen[part.number].finished or 0 for part in self._created())
        rows = sum(part.rows for part in self._created())
        return f"{len(self._running()):,} batches run, {finished:,} of {rows:,} rows finished"

    def check(self) -> None:
        """Check that all batches were found.

        Raises:
            BatchMissing: Some were not.
        """
        if number := len(self._missing):
            were = "batch was" if number == 1 else "batches were"
            raise BatchMissing(
                f"{number:,} {were} not found: use the key of the run; 'headrace batch fetch' fetches the "
                "results of all others, and says what to do if a batch is lost"
            )

    def describe(self) -> str:
        """One line per part that is not settled, and a sum."""
        lines = []
        for part in self._parts:
            if part.stage in _SETTLED:
                continue
            seen = self._seen.get(part.number)
            state = part.stage.value if seen is None else seen.word
            if part.number in self._missing:
                state = "not found at the endpoint for this key"
            finished = "" if seen is None or seen.finished is None else f", {seen.finished:,} finished"
            lines.append(
                f"part {part.number}: {part.rows:,} rows, {state}{finished}, {part.batch or 'no batch'}"
            )
        settled = [part for part in self._parts if part.stage in _SETTLED]
        if settled or not lines:
            settled_parts = "part is settled: its" if len(settled) == 1 else "parts are settled: their"
            lines.append(f"{len(settled):,} {settled_parts} results are in the output")
        return "\n".join(lines)


@asynccontextmanager
async def observed_run(out: Path) -> AsyncIterator[ObservedRun]:
    """The batches of the run that writes to ``out``, with connections to their endpoints.

    Raises:
        JournalError: It is not the output of a run, or the run has no batches.
    """
    path = batch_folder(out, run_identity(out).id) / LEDGER
    content = read_ledger(path)
    if content.run is None:
        raise JournalError(f"{out}: its run has no batches here; {path} is missing")
    parts = list(content.parts.values())
    async with AsyncExitStack() as stack:
        apis = {}
        for url in dict.fromkeys(part.endpoint for part in parts):
            client = _client_for(url)
            await stack.enter_async_context(client)
            endpoint = next(each for each in client.endpoints if each.base_url == url)
            apis[url] = EndpointApi(DirectCalls(client, endpoint), dialect_of(endpoint))
        yield ObservedRun(parts, apis)


def left_by_fresh(out: Path) -> dict[Path, int]:
    """The outputs that ``fresh=True`` has renamed, and how many batches of each may go on."""
    real, found = out.resolve(), {}
    for kept in sorted(real.parent.glob(f"{glob.escape(real.name)}.[0-9]*")):
        if not kept.suffix[1:].isdecimal():
            continue
        with suppress(JournalError):
            parts = read_ledger(batch_folder(kept, run_identity(kept).id) / LEDGER).parts.values()
            if number := sum(part.stage is Stage.CREATED for part in parts):
                found[out.with_name(kept.name)] = number
    return found


def _client_for(url: str) -> Client:
    """A client for an endpoint: with the settings, if they have it, else for its URL."""
    client = Client()
    if any(endpoint.base_url == url for endpoint in client.endpoints):
        return client
    return Client(base_url=url)
