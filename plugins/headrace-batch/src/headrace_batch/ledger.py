"""The ledger of a run's parts: one JSON line per event, durable before the next request is sent."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Set
from pathlib import Path
from typing import Any

import attrs
import msgspec

from headrace import JournalError
from headrace.bulk import LineFile
from headrace_batch.part import Part, Stage

LEDGER = "ledger.jsonl"
_FORMAT = 1
_PLAN = ("rows", "size", "digest", "path", "model", "endpoint", "round", "reserved", "tokens")
"""The members of a part that are known when it is planned."""


class _Record(msgspec.Struct, omit_defaults=True):
    """A line: the run, the place of this file, a planned part, a part that reached a stage, the cancelled
    rows of a part, that its batch is lost, a limit that was learnt, or the time at which the run must finish.

    A plan with a stage is that of a batch that exists already.
    """

    run: str | None = None
    format: int | None = None
    place: str | None = None
    part: int | None = None
    stage: Stage | None = None
    plan: dict[str, Any] | None = None
    file: str | None = None
    batch: str | None = None
    refused: str | None = None
    cancelled: list[str] | None = None
    lost: bool | None = None
    limits: dict[str, int] | None = None
    finish_at: datetime.datetime | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Record).decode


@attrs.define
class LedgerContent:
    """What a ledger says.

    Attributes:
        run: The id of the run; None for an empty ledger.
        place: Where the last session has used it.
        parts: The parts by number.
        limits: The limits that the endpoint taught: ``requests`` and ``bytes`` of a batch.
        finish_at: When the run must finish; None if no session was told.
        size: Bytes up to the last whole line.
    """

    run: str | None = None
    place: str | None = None
    parts: dict[int, Part] = attrs.field(factory=dict)
    limits: dict[str, int] = attrs.field(factory=dict)
    finish_at: datetime.datetime | None = None
    size: int = 0

    def add(self, record: _Record) -> None:
        """Apply a record."""
        if record.run is not None:
            self.run = record.run
        if record.place is not None:
            self.place = record.place
        if record.limits is not None:
            self.limits.update(record.limits)
        if record.finish_at is not None:
            self.finish_at = record.finish_at
        if record.part is None:
            return
        if record.plan is not None:
            stage = record.stage or Stage.PLANNED
            self.parts[record.part] = Part(
                number=record.part, stage=stage, file=record.file, batch=record.batch, **record.plan
            )
        elif record.cancelled is not None:
            self.parts[record.part].cancelled = set(record.cancelled)
        elif record.lost is not None:
            self.parts[record.part].lost = record.lost
        elif record.stage is not None:
            changes = {name: getattr(record, name) for name in ("file", "batch", "refused")}
            known = {name: value for name, value in changes.items() if value is not None}
            self.parts[record.part].advance(record.stage, known)


def read_ledger(path: Path) -> LedgerContent:
    """Read a ledger; a torn line at its end is left out. One that does not exist is empty.

    Raises:
        JournalError: It is damaged.
    """
    content = LedgerContent()
    try:
        written = path.read_bytes()
    except FileNotFoundError:
        return content
    for number, line in enumerate(written.splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            record = _decode(line)
            if record.format not in (None, _FORMAT):
                raise JournalError("is of another version of headrace-batch")
            content.add(record)
        except (ValueError, KeyError, TypeError, JournalError) as error:
            raise JournalError(
                f"{path}:{number}: damaged: {error}; remove {path.parent.name}, and run the same command "
                "again: it finds the batches at the endpoint"
            ) from None
        content.size += len(line)
    return content


class Ledger:
    """The ledger while a session has the run's lock. A context manager.

    Args:
        folder: The folder of the run's parts; it is created.
        run: The id of the run.

    Attributes:
        parts: The parts by number.
        limits: The limits that the endpoint taught.
        is_new: Whether there was no ledger.
        is_copy: Whether it was copied, or is used on another machine than before. Then a session may have
            made batches that it does not know.

    Raises:
        JournalError: The ledger is damaged, or belongs to another run.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.folder: Path = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / LEDGER
        self._content = read_ledger(path)
        self.is_new: bool = self._content.run is None
        if not self.is_new and self._content.run != run:
            raise JournalError(f"{path}: belongs to another run; move {folder} away, or restore the output")
        self._file = LineFile(path)
        if path.stat().st_size > self._content.size:
            self._file.truncate(self._content.size)
        self.parts: dict[int, Part] = self._content.parts
        self.limits: dict[str, int] = self._content.limits
        self._run = run
        self._place = f"{platform.node()} {path.stat().st_ino}"
        self.is_copy: bool = not self.is_new and self._content.place != self._place

    @property
    def has_batches(self) -> bool:
        """Whether the endpoint has batches, or may have some, whose results are not in the output."""
        return any(part.at_endpoint for part in self.parts.values())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def begin(self) -> None:
        """Note that a session uses this ledger, in the first line of a new one."""
        if self.is_new:
            await self._write(_Record(run=self._run, format=_FORMAT, place=self._place))
        elif self.is_copy:
            await self._write(_Record(place=self._place))

    async def plan(self, part: Part) -> None:
        """Add a part whose file is complete."""
        await self._write(
            _Record(part=part.number, plan={name: getattr(part, name) for name in _PLAN}), apply=False
        )
        self.parts[part.number] = part

    async def adopt(self, part: Part) -> None:
        """Add a part whose batch exists already, or replace it.

        It is one record: a part that is planned but not created would be paid again.
        """
        plan = {name: getattr(part, name) for name in (*_PLAN, "adopted")}
        record = _Record(part=part.number, plan=plan, stage=part.stage, file=part.file, batch=part.batch)
        await self._write(record, apply=False)
        self.parts[part.number] = part

    async def advance(
        self,
        part: Part,
        stage: Stage,
        *,
        file: str | None = None,
        batch: str | None = None,
        refused: str | None = None,
    ) -> None:
        """Note that a part has reached a stage; durable when this returns."""
        await self._write(_Record(part=part.number, stage=stage, file=file, batch=batch, refused=refused))

    async def finish_at(self, next_end: datetime.datetime) -> datetime.datetime:
        """When the run must finish, for a session that is told a time of day.

        A session that continues batches has the end of the session that made them, also if it has passed.

        Args:
            next_end: When it is that time next.
        """
        known = self._content.finish_at
        is_same = known is not None and known.astimezone().time() == next_end.astimezone().time()
        if known is not None and is_same and any(part.is_open for part in self.parts.values()):
            return known
        await self._write(_Record(finish_at=next_end))
        return next_end

    async def cancel(self, part: Part, ids: Set[str]) -> None:
        """Note that these rows of a part are cancelled, and no others; durable when this returns."""
        await self._write(_Record(part=part.number, cancelled=sorted(ids)))

    async def note_lost(self, part: Part, is_lost: bool) -> None:
        """Note whether the batch of a part, or its results, are not at the endpoint."""
        if is_lost is not part.lost:
            await self._write(_Record(part=part.number, lost=is_lost))

    async def learn(self, name: str, limit: int) -> None:
        """Note a limit of the endpoint."""
        await self._write(_Record(limits={name: limit}))

    async def _write(self, record: _Record, *, apply: bool = True) -> None:
        self._file.append(_encode(record) + b"\n", lambda written: len(self.parts))
        await self._file.sync()
        if apply:
            self._content.add(record)
