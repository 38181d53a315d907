"""The steps from a part's file to its batch: upload, create, and the search for what was lost."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from headrace import CallError, HeadraceError, InvalidReply, StatusError
from headrace.plugins import format_duration
from headrace_batch.batch_api import BatchApi, was_refused
from headrace_batch.dialect import BatchState, BatchView
from headrace_batch.ledger import Ledger
from headrace_batch.marks import batch_marks, file_name, is_marked
from headrace_batch.part import Part, Stage, Step
from headrace_batch.part_file import part_path
from headrace_batch.signals import SessionSignals

T = TypeVar("T")

LISTING_WAIT = 30.0
"""Seconds in which a file or a batch must appear in the endpoint's lists; later it counts as not made."""

_FIRST_LISTING_PAUSE = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_PROCESSING_PAUSE, _MOST_LOOKS = 5.0, 360
"""Seconds between two looks at a file that is not processed yet, and after how many a batch is created."""

_NOT_FOUND = 404

_log = logging.getLogger("headrace.batch")

_SAID_AT = 3
"""After how many failures in a row a person hears of them."""

_MOST_FAILURES = 15
"""Attempts of one request in a row, with pauses that double; together about ten minutes."""

_MOST_PAGES = 3
"""Attempts that are answered by an HTML page or another text: the URL is wrong, or a proxy wants a login."""


class StepFailed(HeadraceError):
    """The endpoint refuses a part, and would refuse it again."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status: int | None = status


class BatchMissing(StepFailed):
    """The endpoint does not have a batch that it had created."""


async def attempt(make: Callable[[], Awaitable[T]], what: str, most: int = _MOST_FAILURES) -> T:
    """Make a request that may be repeated without harm until it succeeds, at most ``most`` times.

    Raises:
        StepFailed: The endpoint refuses it, or it has failed too often.
    """
    pause = _FIRST_PAUSE
    for number in range(1, most + 1):
        try:
            return await make()
        except CallError as error:
            await wait_after(error, pause, number, what, most)
            pause = min(2 * pause, _LONGEST_PAUSE)
    raise AssertionError("unreachable: the last attempt raises")


async def batch_of(part: Part, api: BatchApi, most: int = _MOST_FAILURES) -> BatchView:
    """The batch of a part, as the endpoint shows it now.

    Raises:
        BatchMissing: The endpoint does not have it.
        StepFailed: The endpoint refuses to show it, or that has failed too often.
    """
    try:
        return await attempt(
            lambda: api.batch(part.batch or ""), f"part {part.number}: look at its batch", most
        )
    except StepFailed as error:
        if error.status != _NOT_FOUND:
            raise
        raise BatchMissing(
            f"part {part.number}: {part.endpoint} has no batch {part.batch} for this key"
        ) from error


async def wait_after(
    error: CallError,
    pause: float,
    number: int,
    what: str,
    most: int = _MOST_FAILURES,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Wait before the next attempt of a request that failed; raises `StepFailed` if it must not be made."""
    final = isinstance(error, StatusError) and was_refused(error) and not error.retryable
    if isinstance(error, InvalidReply) and not error.is_json:
        most = min(most, _MOST_PAGES)
    if final or number >= most:
        raise StepFailed(f"{what}: {error}", getattr(error, "status", None)) from error
    seconds = max(getattr(error, "retry_after", None) or 0.0, pause * random.uniform(0.75, 1.25))
    if seconds > 2 * _LONGEST_PAUSE:
        _log.warning("%s: %s; it is tried again in %s", what, error, format_duration(seconds))
    elif number == _SAID_AT:
        _log.warning("%s: %s; it is tried again for some minutes", what, error)
    await sleep(seconds)


class PartSteps:
    """Takes the steps of parts until their batches are created.

    Args:
        run: The id of the run.
        ledger: Where each step is noted.
        signals: What ends a pause.
    """

    def __init__(self, run: str, ledger: Ledger, signals: SessionSignals) -> None:
        self._run = run
        self._ledger = ledger
        self._signals = signals
        self._failures: Counter[int] = Counter()
        self._looks: Counter[str] = Counter()

    async def take(self, part: Part, api: BatchApi) -> None:
        """Take the next step of a part that has no batch yet, or a part of it: then it must be taken again.

        When the session leaves or finishes, this returns soon; what is being sent is finished first.

        Raises:
            StepFailed: The endpoint refuses it.
        """
        steps = {
            Step.UPLOAD: self._upload,
            Step.FIND_FILE: self._find_file,
            Step.CREATE: self._create,
            Step.FIND_BATCH: self._find_batch,
        }
        await steps[part.next_step](part, api)

    async def _upload(self, part: Part, api: BatchApi) -> None:
        path, name = part_path(self._ledger.folder, part.number), file_name(self._run, part)
        await self._ledger.advance(part, Stage.UPLOADING)
        file = await self._once(lambda: api.upload(path, name), part, f"part {part.number}: upload")
        if file is not None:
            await self._ledger.advance(part, Stage.UPLOADED, file=file)

    async def _create(self, part: Part, api: BatchApi) -> None:
        file, is_ready = part.file or "", False
        async with self._signals.until_ending():
            is_ready = await self._is_processed(part, api)
        if not is_ready or self._signals.is_ending:
            return
        await self._ledger.advance(part, Stage.CREATING)
        made = await self._once(
            lambda: api.create(file, part.path, part.model, batch_marks(self._run, part)),
            part,
            f"part {part.number}: create",
        )
        if made is not None:
            await self._ledger.advance(part, Stage.CREATED, batch=made.id)

    async def _is_processed(self, part: Part, api: BatchApi) -> bool:
        """Whether a batch can be created of the file of a part; if not, it waits before the next look."""
        file = part.file or ""
        self._looks[file] += 1
        if self._looks[file] >= _MOST_LOOKS:
            return True
        if await attempt(lambda: api.is_processed(file), f"part {part.number}: look at its file"):
            return True
        await anyio.sleep(_PROCESSING_PAUSE)
        return False

    async def _once(self, make: Callable[[], Awaitable[T]], part: Part, what: str) -> T | None:
        """Make a request that must not be repeated unless the endpoint has refused it.

        Returns None if it is unknown whether the endpoint has done it, and the next step finds out; or if the
        endpoint has refused it, and the step must be taken again. In a pause a person may stop the run.
        """
        try:
            return await make()
        except CallError as error:
            refused = isinstance(error, StatusError) and was_refused(error)
            limited = isinstance(error, StatusError) and error.retryable
            if not refused or limited or _lost_file(error):
                self._failures[part.number] += 1
            if refused:
                await self._go_back(part, error)
                if part.stage is Stage.PLANNED and _lost_file(error):
                    return None  # it is uploaded again
            number = self._failures[part.number]
            pause = min(_FIRST_PAUSE * 2 ** max(0, number - 1), _LONGEST_PAUSE)
            await wait_after(error, pause, number, what, sleep=self._signals.sleep)
            return None

    async def _go_back(self, part: Part, error: CallError) -> None:
        """Note that the endpoint has refused what was begun."""
        again = part.stage is Stage.UPLOADING or (
            _lost_file(error) and self._failures[part.number] < _MOST_FAILURES
        )
        await self._ledger.advance(part, Stage.PLANNED if again else Stage.UPLOADED)

    async def _find_file(self, part: Part, api: BatchApi) -> None:
        name, what = file_name(self._run, part), f"part {part.number}: find its file"
        found = await _until_listed(lambda: attempt(lambda: api.find_files(name), what))
        if not found:
            await self._ledger.advance(part, Stage.PLANNED)
            return
        file, *others = found
        await self._ledger.advance(part, Stage.UPLOADED, file=file)
        for other in others:
            await attempt(lambda other=other: api.delete_file(other), what)  # type: ignore[misc]

    async def _find_batch(self, part: Part, api: BatchApi) -> None:
        what = f"part {part.number}: find its batch"

        async def search() -> list[BatchView]:
            return self.batches_of(part, await attempt(api.batches, what))

        found = await _until_listed(search)
        if not found:
            # A create that is still on its way must not succeed after another one was sent. It cannot without
            # its file; what was created before must be listed by the end of the second search.
            file = part.file or ""
            await attempt(lambda: api.delete_file(file), what)
            found = await _until_listed(search)
        if not found:
            await self._ledger.advance(part, Stage.PLANNED)
            return
        batch, *others = found
        await self._ledger.advance(part, Stage.CREATED, batch=batch.id)
        for other in others:
            await attempt(lambda other=other: api.cancel(other.id), what)  # type: ignore[misc]

    def batches_of(self, part: Part, batches: list[BatchView]) -> list[BatchView]:
        """The batches of a part that the endpoint did not refuse, the oldest first.

        Endpoints without metadata have the marks only as long as the file: then its id tells.
        """
        return [
            batch
            for batch in reversed(batches)
            if (is_marked(batch.metadata, self._run, part) or batch.input_file == (part.file or ""))
            and batch.state is not BatchState.REFUSED
            and batch.id not in part.refused
        ]


def _lost_file(error: CallError) -> bool:
    """Whether a create was refused because the endpoint does not have the file any more."""
    return isinstance(error, StatusError) and (error.param == "input_file_id" or error.status == 404)


async def _until_listed(search: Callable[[], Awaitable[list[T]]]) -> list[T]:
    """Repeat a search until it finds something, or lists have had the time to agree."""
    pause, end = _FIRST_LISTING_PAUSE, anyio.current_time() + LISTING_WAIT
    while True:
        left = end - anyio.current_time()
        if (found := await search()) or left <= 0:
            return found
        await anyio.sleep(min(pause, left))
        pause = 2 * pause
