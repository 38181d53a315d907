"""Rows whose results come from adopted batches, and the requests that this run would have made for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import msgspec

from headrace import Request
from headrace.bulk import IdTable
from headrace_batch.done_rows import DoneRows
from headrace_batch.part import Part, Stage
from headrace_batch.part_file import custom_id_of, line_at, lines_of
from headrace_batch.requests_of_batch import read_request
from headrace_batch.row_file import RowFile
from headrace_batch.stored_request import stored_request

_SIZE = 8
_SHOWN = 3
"""Ids and members in a message."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class _OwnRequest(msgspec.Struct):
    """A request of this run."""

    path: str
    model: str | None
    body: msgspec.Raw


_decode = msgspec.json.Decoder(_OwnRequest).decode


def content_digest(line: bytes) -> bytes:
    """Four bytes that tell a request from a different one, however its JSON is written."""
    found = read_request(line)
    content = b"" if found is None else _encode([found.url, msgspec.json.decode(found.body)])
    return hashlib.blake2b(content, digest_size=4).digest()


@attrs.define
class _AdoptedPart:
    """A part, and what was found about its requests.

    Attributes:
        part: The part.
        path: Its file.
        is_new: Whether no session has merged it.
        other_path: Requests to another path of the API.
        different: Requests that this run would have made in another way.
        members: The members in which they differ.
        first: The id of the first one.
    """

    part: Part
    path: Path
    is_new: bool
    other_path: int = 0
    different: int = 0
    members: dict[str, None] = attrs.field(factory=dict)
    first: str = ""


class AdoptedRows:
    """The rows of adopted batches.

    A row that its batch did not finish is sent with the request of this run, which is kept in a file.

    Args:
        file: Where these requests are kept.
    """

    def __init__(self, file: RowFile) -> None:
        self._file = file
        self._parts: dict[int, _AdoptedPart] = {}
        self._places = IdTable(2 * _SIZE)

    def __contains__(self, number: int) -> bool:
        return number in self._parts

    def add(self, part: Part, path: Path) -> None:
        """Add a part whose requests are in the file at ``path``."""
        self._parts[part.number] = _AdoptedPart(part, path, part.stage is not Stage.KEPT)

    def accept(self, number: int, place: int, custom_id: str, line: bytes, digest: bytes) -> bool:
        """Whether the batch's result is taken for a row, for which this run would have sent ``line``.

        Args:
            number: The number of the part.
            place: The position of the batch's request in the part's file.
            custom_id: The id of the row.
            line: The line of this run.
            digest: The digest of the batch's request.
        """
        adopted = self._parts[number]
        if digest != content_digest(line):
            theirs, ours = read_request(line_at(adopted.path, place)), read_request(line)
            if theirs is None or ours is None or theirs.url != ours.url:
                adopted.other_path += 1
                self._places.set(custom_id, bytes(2 * _SIZE))
                return False
            if members := _differences(msgspec.json.decode(theirs.body), msgspec.json.decode(ours.body)):
                adopted.different += 1
                adopted.first = adopted.first or custom_id
                adopted.members.update(dict.fromkeys(members))
        return True

    def keep(self, custom_id: str, request: Request, content: bytes) -> None:
        """Keep the request that this run would have sent for a row.

        Args:
            custom_id: The id of the row.
            request: The request.
            content: Its body as JSON.
        """
        kept = msgspec.json.encode(_OwnRequest(request.path, request.model, msgspec.Raw(content)))
        place = self._file.append(kept)
        self._places.set(custom_id, place.to_bytes(_SIZE) + len(kept).to_bytes(_SIZE))

    def request(self, id: str, answer: Any, tags: Mapping[str, str]) -> Request:
        """The request that was kept for a row, with the format of its answer and its tags."""
        place = self._places.get(custom_id_of(id)) or b""
        found = _decode(self._file.read(int.from_bytes(place[:_SIZE]), int.from_bytes(place[_SIZE:])))
        return stored_request(id, found.path, found.model, bytes(found.body), answer, tags)

    def describe(self, done: DoneRows) -> list[str]:
        """What a user should know about the requests of adopted batches, now that all rows are drawn."""
        said = []
        for adopted in self._parts.values():
            said += self._differing(adopted)
            if not adopted.is_new:
                continue
            foreign = [
                custom_id
                for custom_id, _ in lines_of(adopted.path)
                if self._places.get(custom_id) is None and custom_id not in done
            ]
            if foreign:
                said.append(
                    f"Batch {adopted.part.batch}: not rows of this session: {len(foreign):,} of its "
                    f"{adopted.part.rows:,} requests ({_named(foreign)}). Their results are not used."
                )
        return said

    def _differing(self, adopted: _AdoptedPart) -> list[str]:
        said, batch, rows = [], adopted.part.batch, adopted.part.rows
        if adopted.different:
            said.append(
                f"Batch {batch}: different from this run: {adopted.different:,} of its {rows:,} requests, "
                f"beginning with {adopted.first} (in {_named(list(adopted.members))}). Its answers are used; "
                "for other answers, begin a new output without this batch."
            )
        if adopted.other_path:
            said.append(
                f"Batch {batch}: with another path than this run: {adopted.other_path:,} of its {rows:,} "
                "requests. Their rows are sent."
            )
        return said


def _named(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _differences(theirs: Any, ours: Any) -> list[str]:
    """The members that differ."""
    return [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
