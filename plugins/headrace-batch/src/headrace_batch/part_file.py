"""The file of a part: one line of OpenAI's batch format per row, on this disk until the part is settled."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

_LONGEST_ID = 64
"""Characters of a ``custom_id`` that every endpoint takes."""

_HASHED = "blake2-"
_DIGEST_SIZE = 16

_BUFFER = 1 << 18
"""Bytes that are written at once."""

CallKind = Literal["single", "steps", "samples"]
"""What calls a row has; see `EngineSetup.calls`."""


class RequestLine(msgspec.Struct):
    """A line, as far as it is read back."""

    custom_id: str
    body: msgspec.Raw


decode_request_line: Callable[[bytes | str], RequestLine] = msgspec.json.Decoder(RequestLine).decode
_encode = msgspec.json.Encoder().encode


def custom_id_of(id: str, call: int = 0) -> str:
    """The ``custom_id`` of a call: the id of its row, and its number if a row has several calls.

    Of an id that is too long, it has a hash.
    """
    of_call = f"-{call}" if call else ""
    if len(id) + len(of_call) > _LONGEST_ID:
        id = _HASHED + hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()
    return id + of_call


def request_line(custom_id: str, url: str, more: Mapping[str, str], body: bytes) -> bytes:
    """The line of a row."""
    members = {"custom_id": custom_id, **more}
    if more:
        members["url"] = url
    # The body is JSON already, and is not read again.
    return _encode(members)[:-1] + b',"body":' + body.replace(b"\n", b" ").replace(b"\r", b" ") + b"}\n"


def row_id_of(custom_id: str, calls: CallKind) -> str:
    """The id of the row of a call, or its hash; see `is_hashed`."""
    return custom_id if calls == "single" else custom_id.rpartition("-")[0]


def is_hashed(row_id: str) -> bool:
    """Whether a ``custom_id`` contains a hash, because the id of its row is too long."""
    return row_id.startswith(_HASHED)


def line_digest(line: bytes, calls: CallKind = "single") -> bytes:
    """Four bytes that tell a row from a changed one.

    How many answers a call for samples asks for depends on what a session knows of the model. The answers are
    those of the row in any case.
    """
    if calls == "samples":
        members: dict[str, Any] = msgspec.json.decode(line)
        body = {name: value for name, value in members["body"].items() if name not in ("n", "seed")}
        line = _encode({**members, "body": body})
    return hashlib.blake2b(line, digest_size=4).digest()


def part_path(folder: Path, number: int) -> Path:
    """The path of a part's file."""
    return folder / f"part-{number}.jsonl"


class PartWriter:
    """Writes the file of a part that is not planned yet.

    Attributes:
        rows: Lines written.
        size: Bytes written.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._final = part_path(folder, number)
        self._path = self._final.with_suffix(".new")
        self._file = self._path.open("wb", _BUFFER)
        self._digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
        self.rows: int = 0
        self.size: int = 0

    def add(self, line: bytes) -> None:
        """Write a line."""
        self._file.write(line)
        self._digest.update(line)
        self.rows += 1
        self.size += len(line)

    def finish(self) -> str:
        """Make the file durable, and return the digest of its bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._path, self._final)
        folder = os.open(self._final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Remove the file."""
        with suppress(OSError):  # a full disk does not take what is still in the buffer
            self._file.close()
        remove_file(self._path)


def remove_file(path: Path) -> None:
    """Remove a file that nobody needs any more. If that is impossible now, a later session does it."""
    with suppress(OSError):
        path.unlink()


def file_digest(path: Path) -> str:
    """The digest of the bytes of a part's file."""
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """The ``custom_id`` and the bytes of each line of a part's file."""
    with path.open("rb") as file:
        for line in file:
            yield decode_request_line(line).custom_id, line


def line_at(path: Path, place: int) -> bytes:
    """The line at a position of a part's file."""
    with path.open("rb") as file:
        file.seek(place)
        return file.readline()
