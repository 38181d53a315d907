"""What a session finds of earlier ones: the ledger, files of parts, and batches at the endpoint."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace import JournalError
from headrace.bulk import EngineSetup, IdTable
from headrace_batch.adopted_rows import AdoptedRows, content_digest
from headrace_batch.adoption import keep_rest
from headrace_batch.batch_api import PartEndpoint
from headrace_batch.dialect import BatchState, BatchView, NoBatchesError, api_path
from headrace_batch.done_rows import DoneRows
from headrace_batch.endpoints import PartEndpoints
from headrace_batch.ledger import Ledger
from headrace_batch.marks import DIGEST, PART, RUN
from headrace_batch.part import Part, Stage
from headrace_batch.part_file import file_digest, line_digest, lines_of, part_path, remove_file
from headrace_batch.part_steps import StepFailed, attempt
from headrace_batch.requests_of_batch import download, fetch_requests
from headrace_batch.row_file import RowFile

_RECORD = struct.Struct(">IQ4s")
"""Of a row of a part: the number of the part, the position of its line in the file, and its digest."""


class OpenRow(NamedTuple):
    """Where a row is.

    Attributes:
        part: The number of the part.
        line: The position of its line in the part's file.
    """

    part: int
    line: int


class OpenRows:
    """The rows of earlier sessions' parts that are not in the output, by their ``custom_id``.

    Args:
        setup: The run.
        file: Where what is known of each is kept. In memory a row takes about 12 bytes until it is taken.
        most: How many rows there are at most.
        requests: Where the requests of this run for adopted rows are kept.

    Attributes:
        done: The rows that are in the output.
        undone: For each part, how many of its rows are neither in the output, nor changed, nor in another
            part.
        adopted: The rows of adopted batches.
    """

    def __init__(self, setup: EngineSetup, file: RowFile, most: int, requests: RowFile) -> None:
        self._calls = setup.calls
        self._file = file
        self._size = (most.bit_length() + 7) // 8
        self._numbers = IdTable(self._size)
        self._count = 0
        self.done: DoneRows = DoneRows(setup)
        self.undone: dict[int, int] = {}
        self.adopted: AdoptedRows = AdoptedRows(requests)

    def add(self, part: Part, path: Path) -> None:
        """Add the rows of a part."""
        place = self.undone[part.number] = 0
        if part.adopted:
            self.adopted.add(part, path)
        for custom_id, line in lines_of(path):
            if custom_id not in self.done:
                digest = content_digest(line) if part.adopted else line_digest(line, self._calls)
                if (earlier := self._record(self._numbers.get(custom_id))) is not None:
                    self.undone[earlier[0]] -= 1  # a changed row was sent anew; the last part counts
                self._file.append(_RECORD.pack(part.number, place, digest))
                self._numbers.set(custom_id, self._count.to_bytes(self._size))
                self._count += 1
                self.undone[part.number] += 1
            place += len(line)

    def take(self, custom_id: str, line: bytes) -> OpenRow | None:
        """Where exactly this row is; None for a new or a changed one. A session draws each id once.

        In an adopted batch, the id alone counts.
        """
        record = self._record(self._numbers.pop(custom_id))
        if record is None:
            return None
        part, place, digest = record
        if part in self.adopted:
            is_same = self.adopted.accept(part, place, custom_id, line, digest)
        else:
            is_same = digest == line_digest(line, self._calls)
        if not is_same:
            self.undone[part] -= 1
            return None
        return OpenRow(part, place)

    def _record(self, number: bytes | None) -> tuple[int, int, bytes] | None:
        """The part of a row, the position of its line there, and its digest."""
        if number is None:
            return None
        part, place, digest = _RECORD.unpack(
            self._file.read(int.from_bytes(number) * _RECORD.size, _RECORD.size)
        )
        return part, place, digest

    def has_left(self, custom_id: str) -> bool:
        """Whether a row is not in the output, and this session has not drawn it."""
        return self._numbers.get(custom_id) is not None and custom_id not in self.done


async def settle_ended(ledger: Ledger, open_rows: OpenRows, sync: Callable[[], Awaitable[None]]) -> None:
    """Settle the parts without a row for a later session; of adopted batches, keep such rows."""
    for part in ledger.parts.values():
        if part.stage is not Stage.ENDED or part.outstanding:
            continue
        ids = (id for id, _ in lines_of(part_path(ledger.folder, part.number)))
        if not any(map(open_rows.has_left, ids)):
            await sync()
            await ledger.advance(part, Stage.SETTLED)
        elif part.adopted:
            await keep_rest(part, ledger, open_rows.has_left)


async def restore_file(part: Part, folder: Path, endpoint: PartEndpoint) -> bool:
    """Make sure that the file of a part is on this disk; returns False if it is nowhere.

    Another machine may have begun the run; then the endpoint has the file.
    """
    path = part_path(folder, part.number)
    if path.exists() and file_digest(path) == part.digest:
        return True
    if part.file is None:
        return False
    file, what = part.file, f"part {part.number}: fetch its requests"
    try:
        if part.adopted:
            await attempt(lambda: fetch_requests(endpoint, file, folder, part.number), what)
        else:
            await attempt(lambda: download(endpoint.api, file, path), what)
    except StepFailed:
        return False
    return file_digest(path) == part.digest


async def adopt_batches(run: str, ledger: Ledger, endpoint: PartEndpoint) -> int:
    """Add the batches of a run that its ledger does not know; returns their number.

    The ledger was lost, or it is an older copy. A copy may have made other parts with the same numbers.

    Raises:
        NoBatchesError: The endpoint has no batches.
    """
    api, adopted = endpoint.api, 0
    for batch in await attempt(api.batches, "list the batches"):
        marks = batch.metadata
        usable = batch.state is not BatchState.REFUSED and batch.input_file is not None
        if marks.get(RUN) != run or not usable or not marks.get(PART, "").isdecimal():
            continue
        if any(batch.id == part.batch or batch.id in part.refused for part in ledger.parts.values()):
            continue
        number = int(marks[PART])
        if (known := ledger.parts.get(number)) is not None:
            if known.digest == marks.get(DIGEST):
                continue
            number = max(ledger.parts) + 1
        adopted += await _adopt(batch, number, marks, ledger, endpoint)
    return adopted


async def adopt_from_all(run: str, ledger: Ledger, endpoints: list[PartEndpoint]) -> int:
    """As `adopt_batches`, from several endpoints; those without batches matter only if a row goes there."""
    adopted = 0
    for endpoint in endpoints:
        try:
            adopted += await adopt_batches(run, ledger, endpoint)
        except NoBatchesError:
            if len(endpoints) == 1:
                raise
    return adopted


async def _adopt(
    batch: BatchView, number: int, marks: Mapping[str, str], ledger: Ledger, endpoint: PartEndpoint
) -> bool:
    file, path = batch.input_file or "", part_path(ledger.folder, number)
    await attempt(lambda: download(endpoint.api, file, path), f"part {number}: fetch its requests")
    if file_digest(path) != marks.get(DIGEST):
        remove_file(path)
        return False
    rows, line = 0, b""
    for _, line in lines_of(path):  # noqa: B007 - the last one is used
        rows += 1
    first: dict[str, Any] = msgspec.json.decode(line)
    part = Part(
        number=number,
        rows=rows,
        size=path.stat().st_size,
        digest=marks[DIGEST],
        path=api_path(str(batch.endpoint or first.get("url") or "/chat/completions")),
        model=first["body"].get("model"),
        endpoint=endpoint.calls.endpoint.base_url,
        stage=Stage.CREATED,
        file=file,
        batch=batch.id,
    )
    await ledger.adopt(part)
    return True


async def open_rows(
    ledger: Ledger, endpoints: PartEndpoints, setup: EngineSetup, file: RowFile, requests: RowFile
) -> OpenRows:
    """The rows of the parts that are not settled. A part whose requests are nowhere has no batch."""
    # A row that an adopted batch did not finish may be in a part of this run; that one counts.
    parts = [part for part in ledger.parts.values() if part.stage is not Stage.SETTLED]
    parts.sort(key=lambda each: not each.adopted)
    rows = OpenRows(setup, file, sum(part.rows for part in parts), requests)
    for part in parts:
        if await restore_file(part, ledger.folder, endpoints.at(part.endpoint)):
            rows.add(part, part_path(ledger.folder, part.number))
        elif part.at_endpoint:
            raise JournalError(
                f"{part_path(ledger.folder, part.number)}: is lost, and {part.endpoint} does not have it any "
                f"more, so the results of batch {part.batch} cannot be assigned; begin a new output with "
                "fresh=True"
            )
        else:
            await ledger.advance(part, Stage.SETTLED)
    return rows
