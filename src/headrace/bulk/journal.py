"""The journal of a bulk run: its output file, and a sidecar that identifies the run.

One line per item is appended to `OUT` before the item counts as done. `OUT.journal`, the sidecar, holds the
run's fingerprint. `OUT.index` is there to read a long output faster. The process of the run locks the output
and the sidecar: one file can have two names that lead to two sidecars. After a crash, the output may end in a
torn line: it is removed and its item is sent again. Any other foreign line is reported as damage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.done_index import DONE, ENTRY_SIZE, FAILED, REMOVED, DoneIndex, entry_of
from headrace.bulk.dropped_cost import dropped_cost, record_dropped_cost
from headrace.bulk.engine_note import check_engine, note_engine
from headrace.bulk.fingerprints import note_first_index
from headrace.bulk.id_table import IdTable
from headrace.bulk.item_result import ItemResult
from headrace.bulk.line_file import LineFile
from headrace.bulk.line_removal import LineRemoval
from headrace.bulk.output_line import JournalEntry, decode_entry
from headrace.bulk.output_path import cannot_be_written, check_output, index_of, real_path, sidecar_of
from headrace.bulk.run_lock import lock_file, lock_run, run_id
from headrace.bulk.sources import Item
from headrace.errors import JournalError

if TYPE_CHECKING:
    from headrace.bulk.steps.steps_journal import StepsJournal

_UNKNOWN = 0
"""The digest of a line that has none."""


class Journal:
    """The durable record of one run. A context manager that holds the run's lock.

    Items are matched by their ids, so rows may be added, removed or moved between two sessions. Entering
    reads the output and removes a torn line at its end.

    Args:
        out: The output file.
        fingerprint: Identifies the run.
        keep_done: Whether a run with another fingerprint continues this journal. The lines that it holds
            stay, and new ones are written for the new fingerprint.
        command: The command of the run, without secrets; the sidecar keeps it for reports.
        engine: The engine of the session; None for ordinary calls.

    Attributes:
        index: What the output holds, in a form that is read faster.
        done: The number of items that have a line.
        failed: The number of items whose line held an error when the journal was entered.
        first_index: The lowest index that no line has.
        spent: Cost in USD of the earlier sessions, including removed lines.
        steps: The journal of the steps, for a job with steps.
        run_id: The id of the run, the same in all sessions; empty before the journal is entered.
        turn: Held while the output is synced or replaced.

    Raises:
        JournalError: On entering: the output is not a regular file, another process works on the run, the
            fingerprint differs (the message names the difference), calls of another engine may go on (not
            with ``keep_done``), or the output is damaged or cannot be written.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        fingerprint: Mapping[str, Any],
        *,
        keep_done: bool = False,
        command: str | None = None,
        engine: str | None = None,
    ) -> None:
        self.path: Path = Path(out)
        self._real = real_path(out)
        self._sidecar = sidecar_of(out)
        self._fingerprint = dict(fingerprint)
        self._keep_done = keep_done
        self._command = command
        self._engine = engine
        self._entries = IdTable(ENTRY_SIZE)
        self._is_new = True
        self._read_to = 0
        self.index: DoneIndex = DoneIndex(index_of(out))
        self.done: int = 0
        self.failed: int = 0
        self.first_index: int = 0
        self.spent: Decimal = Decimal(0)
        self.steps: StepsJournal | None = None
        self.run_id: str = ""
        self.turn: anyio.Lock = anyio.Lock(fast_acquire=True)

    def __enter__(self) -> Self:
        check_output(self.path)
        with ExitStack() as opened:
            # An existing output is locked first: a run that is refused must leave nothing in the sidecar.
            held = self._open_output(opened) if self._real.exists() else None
            self._lock = self._acquire_lock()
            opened.callback(os.close, self._lock)
            if not self._keep_done:
                check_engine(self.path, self._lock, self._engine)
            self._file = held or self._open_output(opened)
            try:
                self.run_id = run_id(self._lock)
                self.spent = dropped_cost(self._lock)
                self._read()
                note_first_index(self._lock, self.first_index)
            except OSError as error:
                raise JournalError(f"{self.path}: {error.strerror}") from error
            opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        os.close(self._lock)
        self._lock = -1  # another file may get its number

    @property
    def sidecar(self) -> int:
        """The descriptor of the sidecar, while the journal is entered."""
        return self._lock

    def _open_output(self, opened: ExitStack) -> LineFile:
        """Open the output and lock it; ``opened`` closes it."""
        try:
            file = LineFile(self._real, self.path)
        except OSError as error:
            raise JournalError(cannot_be_written(self.path, error)) from error
        opened.callback(file.close)
        lock_file(file.fileno(), self.path)
        return file

    def _acquire_lock(self) -> int:
        begun = self._real.exists() and self._real.stat().st_size > 0
        return lock_run(
            self.path,
            self._sidecar,
            self._fingerprint,
            begun=begun,
            keep_done=self._keep_done,
            command=self._command,
        )

    def _read(self) -> None:
        """Note the lines of the output that the index lacks; a torn line at its end is removed."""
        with self._real.open("rb") as file:
            self._entries = self.index.read(file)
            found = self.index.described
            torn: str | None = None
            for number, raw in enumerate(file, found.lines + 1):
                if torn is not None:
                    raise JournalError(f"{self.path}:{number - 1}: {torn}; repair or remove that line")
                torn = self._note(raw)
        if torn is not None:
            self._file.truncate(found.size)
        self.index.write()
        self._is_new = not found.lines
        self.done, self.failed, self.first_index = found.lines, found.failed, found.first_index
        self.spent += found.spent
        self._read_to = found.size

    def _note_entry(self, entry: JournalEntry) -> None:
        """Note a line that was written since the journal was entered."""
        self.failed += entry.failed
        self._entries.set(entry.custom_id, entry_of(entry.digest, FAILED if entry.failed else DONE))
        self._is_new = False

    def _note(self, raw: bytes) -> str | None:
        """Note a line of an earlier session; returns what is wrong with it, None if it is right."""
        if not raw.endswith(b"\n"):
            return "torn"
        try:
            line = decode_entry(raw)
        except NOT_JSON as error:
            return f"damaged: {error}"
        if line.index is None:
            return f"not a line of headrace run: its id is {line.id!r}"
        if not self._entries.set(line.custom_id, entry_of(line.digest, FAILED if line.failed else DONE)):
            return f"a second line for {line.custom_id!r}"
        self.index.add(raw, [line])
        return None

    def _state(self, id: str) -> int | None:
        entry = self._entries.get(id)
        return None if entry is None else entry[4]

    def digest_of(self, id: str) -> int | None:
        """The digest of the row of a done item: 0 if unknown, None if the item is not done."""
        entry = self._entries.get(id)
        return None if entry is None or entry[4] == REMOVED else int.from_bytes(entry[:4])

    def is_done(self, item: Item) -> bool:
        """Whether an item had a line when the output was last read, and still has it."""
        return not self._is_new and self._state(item.id) in {DONE, FAILED}

    def has_failed(self, id: str) -> bool:
        """Whether an item's line holds an error."""
        return self._state(id) == FAILED

    def was_removed(self, item: Item) -> bool:
        """Whether an item had a line that `remove` has removed."""
        return not self._is_new and self._state(item.id) == REMOVED

    def remove(self, chosen: Callable[[str], bool]) -> list[str]:
        """Remove the lines of the items with these ids, so that they are sent again; returns these ids.

        Nothing else may be written or synced meanwhile; see ``turn``. The output is replaced atomically:
        after a crash, it is the old file or the new one.

        Raises:
            JournalError: The new file cannot be written; the old one is unchanged.
        """
        with self._removal(chosen) as removal:
            while removal.copy_some():
                pass
            removal.sync()
            return self._replace(removal)

    async def remove_beside_calls(self, chosen: Callable[[str], bool]) -> list[str]:
        """As `remove`, for a run whose lines are written meanwhile: in portions, between other tasks."""
        with self._removal(chosen) as removal:
            while removal.copy_some():
                await checkpoint()
            await anyio.to_thread.run_sync(removal.sync)
            removed = self._replace(removal)
            self._file.note_unsynced()  # what came during the sync
            return removed

    @contextmanager
    def _removal(self, chosen: Callable[[str], bool]) -> Iterator[LineRemoval]:
        def is_chosen(entry: JournalEntry, end: int) -> bool:
            if end > self._read_to:
                self._note_entry(entry)
                self._read_to = end
            return chosen(entry.custom_id)

        self._file.check_in_place()
        try:
            with closing(LineRemoval(self._real, index_of(self.path), is_chosen)) as removal:
                yield removal
        except OSError as error:
            raise JournalError(
                f"{self.path}: {error.strerror}; its items are still in it, nothing was lost"
            ) from error

    def _replace(self, removal: LineRemoval) -> list[str]:
        """Put the copy in the place of the output; returns the ids of the removed lines."""
        removal.finish()
        self.index = removal.index
        if not removal.removed:
            return []
        # Before the rename: a crash in between counts these costs twice, but does not lose them.
        record_dropped_cost(self._lock, dropped_cost(self._lock) + removal.cost)
        os.replace(removal.copy, self._real)
        with ExitStack() as opened:
            old, self._file = self._file, self._open_output(opened)
            opened.pop_all()
        old.close()
        self._read_to = self.index.described.size
        for id in removal.removed:
            self.failed -= self.has_failed(id)
            self._entries.set(id, entry_of(_UNKNOWN, REMOVED))
        self.done -= len(removal.removed)
        return removal.removed

    def note_calls(self, may_go_on: bool) -> None:
        """Note durably whether calls of the session's engine may go on when this process has ended.

        While they may, a session without this engine is refused.

        Raises:
            JournalError: The note cannot be written.
        """
        try:
            note_engine(self._lock, self._engine if may_go_on else None)
        except OSError as error:
            raise JournalError(f"{self._sidecar}: {error.strerror}") from error

    def append(self, indexes: list[int], lines: bytes) -> None:
        """Write the lines of these items; afterwards they survive a crash of this process.

        Raises:
            JournalError: Not all lines could be written; see `LineFile.append`.
        """

        def count(written: int) -> int:
            self.done += written
            return self.done

        self._file.append(lines, count)

    def index_results(self, lines: bytes, rows: Sequence[ItemResult]) -> None:
        """Index lines that `append` has just written, by their results; `sync` reads those that it cannot."""
        self.index.add_results(lines, rows, self._file.size)

    async def sync(self) -> None:
        """Sync the written lines to the disk, so that they survive a crash of the machine; index them.

        Raises:
            JournalError: The output was deleted, moved, replaced or changed by another program, or the disk
                reports an error.
        """
        async with self.turn:
            self._file.check_in_place()
            if await self._file.sync():
                self.index.follow(self._real, self.done)
            self.index.write()
