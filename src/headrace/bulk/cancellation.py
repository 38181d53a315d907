"""Cancels items of a run that are in flight, or were not sent yet."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import anyio.to_thread
import attrs
import msgspec

from headrace._support.text import listed
from headrace.bulk.executor import Executor
from headrace.bulk.input_check import InputCheck
from headrace.bulk.item_feed import ItemFeed
from headrace.bulk.journal import Journal
from headrace.bulk.memory_journal import MemoryJournal
from headrace.bulk.output_line import decode_entries
from headrace.bulk.result_store import ResultStore
from headrace.errors import ControlRefused

_FEW = 20
"""Ids that are looked up in the output one by one. For more, its lines are decoded."""


@attrs.frozen
class Cancellation:
    """What became of a request to cancel items, by their ids.

    Attributes:
        in_flight: Their calls are cancelled.
        later: They were not sent yet, and fail when their turn comes.
        perhaps_later: The same, if the input has them: it was not asked.
        dropped: They were sent and cannot be stopped; their answers are paid, and dropped when they come.
        kept: They are in flight, and the executor cannot cancel them.
        finished: They are done.
        unknown: The input does not have them.
    """

    in_flight: list[str] = attrs.field(factory=list)
    later: list[str] = attrs.field(factory=list)
    perhaps_later: list[str] = attrs.field(factory=list)
    dropped: list[str] = attrs.field(factory=list)
    kept: list[str] = attrs.field(factory=list)
    finished: list[str] = attrs.field(factory=list)
    unknown: list[str] = attrs.field(factory=list)

    @property
    def stopped(self) -> list[str]:
        """The items that get no answer in this session."""
        return [*self.in_flight, *self.later, *self.perhaps_later, *self.dropped]

    def describe(self) -> str:
        """What became of the request, as sentences for a person."""
        parts = {
            "Cancelled in flight": self.in_flight,
            "Fail when their turn comes": self.later,
            "Fail when their turn comes, if the input has them": self.perhaps_later,
            "Sent in a batch, so paid, and dropped when their answers come": self.dropped,
            "In flight, and not cancelled because the engine cannot": self.kept,
            "Done already": self.finished,
            "Not in the input": self.unknown,
        }
        return " ".join(f"{what}: {listed(ids)}." for what, ids in parts.items() if ids)


def checked_ids(ids: Sequence[str]) -> list[str]:
    """The ids, each once.

    Raises:
        ControlRefused: They are not a list of texts, or there are none. A text alone is refused, because its
            characters may be ids of other items.
    """
    if isinstance(ids, str) or not isinstance(ids, Iterable) or not all(isinstance(id, str) for id in ids):
        raise ControlRefused("ids: must be a list of ids, which are texts")
    if not ids:
        raise ControlRefused("no ids: name the items to cancel")
    return list(dict.fromkeys(ids))


async def cancel_items(
    ids: Collection[str],
    feed: ItemFeed,
    executor: Executor,
    journal: ResultStore,
    check: InputCheck | None,
) -> Cancellation:
    """Cancel items.

    Args:
        ids: Their ids.
        feed: The items of the run.
        executor: Makes the calls.
        journal: Stores the results.
        check: Knows the ids of the input, as far as it was read.
    """
    found = Cancellation()
    cancel = getattr(executor, "cancel", None)
    finished = await anyio.to_thread.run_sync(_ids_with_lines, journal, list(ids))
    others = [id for id in ids if id not in finished]
    if check is not None and check.finished:
        found.unknown.extend(id for id in others if id not in check)
    wanted = set(others).difference(found.unknown)
    unsent, sent = set[str](), set[str]()
    if hasattr(executor, "cancel_parked"):
        unsent, sent = await executor.cancel_parked(wanted)
    drawn = feed.cancel(wanted - unsent - sent, in_flight=cancel is not None)
    drawn_ids = {item.id for item in drawn}
    for id in ids:
        if id in finished:
            found.finished.append(id)
        elif id in sent:
            found.dropped.append(id)
        elif id in drawn_ids:
            (found.kept if cancel is None else found.in_flight).append(id)
        elif id in wanted:
            found.later.append(id)
    if cancel is not None and drawn:
        await cancel({item.index for item in drawn})
    return found


def _ids_with_lines(journal: ResultStore, ids: Collection[str]) -> set[str]:
    """Those of the ids that have a line in the output."""
    if isinstance(journal, MemoryJournal):
        return _found(journal.content.getvalue(), ids)
    return ids_with_lines(journal.path, ids) if isinstance(journal, Journal) else set()


def ids_with_lines(path: Path, ids: Collection[str]) -> set[str]:
    """Those of the ids that have a line in an output file; it is not read line by line.

    Args:
        path: The file; another process may append to it.
        ids: The ids.

    Raises:
        OSError: The file cannot be read.
    """
    if not path.stat().st_size:
        return set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _found(content, ids)


def _found(content: bytes | mmap.mmap, ids: Collection[str]) -> set[str]:
    if len(ids) > _FEW:
        lines = content[: content.rfind(b"\n") + 1]
        return {entry.custom_id for entry in decode_entries(lines)}.intersection(ids)
    # Quotes in an answer are escaped, so this is found only as a member.
    return {id for id in ids if content.find(b'"custom_id":' + msgspec.json.encode(id)) >= 0}
