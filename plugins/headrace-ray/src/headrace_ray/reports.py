"""What the actors of a session report while it goes on: a file of each, in the folder that they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from headrace_ray.shards import is_free
from headrace_ray.shared_files import replace_file

_PREFIX = "report-"


class ActorReport(msgspec.Struct):
    """What an actor does, and what it has done so far.

    Attributes:
        in_flight: Its calls in flight.
        waiting: What all its blocks wait for; empty if one does not.
        circuits: Why circuits are open, by endpoint.
        totals: The totals of the items that it has finished, see `headrace.bulk.encode_totals`.
        followed: The number of the last order that it has carried out.
        cancelled: The ids of the items whose calls it has cancelled in flight.
    """

    in_flight: int
    waiting: str
    circuits: dict[str, str]
    totals: msgspec.Raw
    followed: int = 0
    cancelled: list[str] = []


class ReportFile:
    """The report of one actor, which is named after its shard."""

    def __init__(self, shared: Path, shard: Path) -> None:
        self._path = shared / f"{_PREFIX}{shard.name}"
        self._written = b""

    def write(self, report: ActorReport) -> None:
        """Replace the report if it differs. Raises `OSError`."""
        content = msgspec.json.encode(report)
        if content != self._written:
            replace_file(self._path, content)
            self._written = content


def read_reports(shared: Path) -> Iterator[tuple[ActorReport, bool]]:
    """Yield the last report of each actor, and whether the actor is alive."""
    for path in shared.glob(f"{_PREFIX}*.jsonl"):
        try:
            report = msgspec.json.decode(path.read_bytes(), type=ActorReport)
            is_alive = not is_free(shared.parent / path.name.removeprefix(_PREFIX))
        except OSError:  # it was removed meanwhile
            continue
        yield report, is_alive


def common_reason(reasons: Sequence[str]) -> str:
    """What all wait for, by the reason of each; empty if one does not wait."""
    return reasons[0] if reasons and all(reasons) else ""
