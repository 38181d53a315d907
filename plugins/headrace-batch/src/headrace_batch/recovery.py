"""What a session finds of earlier ones: the ledger, files of parts, and batches at the endpoint."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace import JournalError
from headrace.bulk import IdTable
from headrace_batch.batch_api import EndpointApi, PartEndpoint
from headrace_batch.dialect import BatchState, BatchView
from headrace_batch.endpoints import PartEndpoints
from headrace_batch.ledger import Ledger
from headrace_batch.marks import DIGEST, PART, RUN
from headrace_batch.part import Part, Stage
from headrace_batch.part_file import file_digest, line_digest, lines_of, part_path
from headrace_batch.part_steps import StepFailed, attempt
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
        file: Where what is known of each is kept. In memory a row takes about 12 bytes until it is taken.
        most: How many rows there are at most.

    Attributes:
        undone: For each part, how many of its rows are not in the output.
    """

    def __init__(self, file: RowFile, most: int) -> None:
        self._file = file
        self._size = (most.bit_length() + 7) // 8
        self._numbers = IdTable(self._size)
        self._count = 0
        self.undone: dict[int, int] = {}

    def forget(self) -> None:
        """Forget the rows, because this session has drawn all that it has in common with them."""
        self._numbers = IdTable(self._size)

    def add(self, part: Part, path: Path, is_done: Callable[[str], bool]) -> None:
        """Add the rows of a part."""
        undone, place = 0, 0
        for custom_id, line in lines_of(path):
            if not is_done(custom_id):
                self._file.append(_RECORD.pack(part.number, place, line_digest(line)))
                self._numbers.set(custom_id, self._count.to_bytes(self._size))
                self._count += 1
                undone += 1
            place += len(line)
        self.undone[part.number] = undone

    def take(self, custom_id: str, line: bytes) -> OpenRow | None:
        """Where exactly this row is; None for a new or a changed one. A session draws each id once."""
        found = self._numbers.pop(custom_id)
        if found is None:
            return None
        record = self._file.read(int.from_bytes(found) * _RECORD.size, _RECORD.size)
        part, place, digest = _RECORD.unpack(record)
        return OpenRow(part, place) if digest == line_digest(line) else None


async def restore_file(part: Part, folder: Path, api: EndpointApi) -> bool:
    """Make sure that the file of a part is on this disk; returns False if it is nowhere.

    Another machine may have begun the run; then the endpoint has the file.
    """
    path = part_path(folder, part.number)
    if path.exists() and file_digest(path) == part.digest:
        return True
    if part.file is None:
        return False
    file = part.file
    try:
        await attempt(lambda: download(api, file, path), f"part {part.number}: fetch its requests")
    except StepFailed:
        return False
    return file_digest(path) == part.digest


async def download(api: EndpointApi, file: str, path: Path) -> None:
    """Store the content of a file of the endpoint."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as written:
        async with api.content(file) as (_, parts):
            async for data in parts:
                written.write(data)
        written.flush()
        os.fsync(written.fileno())
    os.replace(fresh, path)


async def adopt_batches(run: str, ledger: Ledger, endpoint: PartEndpoint) -> int:
    """Add the batches of a run whose ledger was lost; returns their number.

    Raises:
        NoBatchesError: The endpoint has no batches.
    """
    api, adopted = endpoint.api, 0
    for batch in await attempt(api.batches, "list the batches"):
        marks = batch.metadata
        usable = batch.state is not BatchState.REFUSED and batch.input_file is not None
        number = marks.get(PART, "")
        if marks.get(RUN) != run or not usable or not number.isdecimal() or int(number) in ledger.parts:
            continue
        adopted += await _adopt(batch, int(number), marks, ledger, endpoint)
    return adopted


async def _adopt(
    batch: BatchView, number: int, marks: Mapping[str, str], ledger: Ledger, endpoint: PartEndpoint
) -> bool:
    file, path = batch.input_file or "", part_path(ledger.folder, number)
    await attempt(lambda: download(endpoint.api, file, path), f"part {number}: fetch its requests")
    if file_digest(path) != marks.get(DIGEST):
        path.unlink()
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
        path=str(first.get("url") or "/chat/completions").removeprefix(endpoint.dialect.url_prefix),
        model=first["body"].get("model"),
        endpoint=endpoint.calls.endpoint.base_url,
    )
    await ledger.plan(part)
    await ledger.advance(part, Stage.UPLOADING)
    await ledger.advance(part, Stage.UPLOADED, file=file)
    await ledger.advance(part, Stage.CREATING)
    await ledger.advance(part, Stage.CREATED, batch=batch.id)
    return True


async def open_rows(
    ledger: Ledger, endpoints: PartEndpoints, is_done: Callable[[str], bool], file: RowFile
) -> OpenRows:
    """The rows of the parts that are not settled. A part whose requests are nowhere has no batch."""
    parts = [part for part in ledger.parts.values() if part.stage is not Stage.SETTLED]
    rows = OpenRows(file, sum(part.rows for part in parts))
    for part in parts:
        if await restore_file(part, ledger.folder, endpoints.at(part.endpoint).api):
            rows.add(part, part_path(ledger.folder, part.number), is_done)
        elif part.at_endpoint:
            raise JournalError(
                f"{part_path(ledger.folder, part.number)}: is lost, and {part.endpoint} does not have it any "
                f"more, so the results of batch {part.batch} cannot be assigned; begin a new output with "
                "fresh=True"
            )
        else:
            await ledger.advance(part, Stage.SETTLED)
    return rows
