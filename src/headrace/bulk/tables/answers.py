"""What a run's output says of its items, found by their place in the input."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.records import Line, Spent
from headrace.bulk.sources import Item
from headrace.bulk.tables.kinds import Kinds
from headrace.errors import InputError, InvalidReply
from headrace.replies import Headers, Reply

_NOWHERE = -1


class _Response(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    code: str
    message: str


class _Notes(Spent, kw_only=True):
    attempts: int
    elapsed: float
    answer: Any = None


class Record(Line, kw_only=True):
    """All of an output line that a table has a column for."""

    custom_id: str
    response: _Response | None
    headrace: _Notes

    @property
    def answer(self) -> Any:
        """What headrace made of the reply (a choice, an object), else its text; None where there is none."""
        if self.failed or self.response is None:
            return None
        if self.headrace.answer is not None:
            return self.headrace.answer
        try:
            return Reply(200, Headers([]), bytes(self.response.body)).text
        except InvalidReply:
            return None

    @property
    def what_failed(self) -> str | None:
        """The error's code and message."""
        error = _read_error(self.error)
        return None if error is None else f"{error.code}: {error.message}"


decode_answered: Callable[[bytes | str], Record] = msgspec.json.Decoder(Record).decode
_read_error = msgspec.json.Decoder(_Error | None).decode


class Answers:
    """The lines of an output by their items, of which there may be ``limit``; eight bytes an item.

    ``keys`` are the members of answers that are objects; ``texts`` says whether there are other answers.
    A context manager. Raises `InputError` for an output that cannot be read or is damaged.
    """

    def __init__(self, out: Path, limit: int | None = None) -> None:
        self._out = out
        self._offsets = array("q")
        self.keys: Kinds = Kinds()
        self.texts: bool = False
        try:
            self._file = out.open("rb")
        except OSError as error:
            raise InputError(f"{out}: {error.strerror}") from error
        try:
            self._look_through(limit)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def _look_through(self, limit: int | None) -> None:
        offset = 0
        for number, raw in enumerate(self._file, 1):
            if not raw.endswith(b"\n"):
                return  # torn by a crash: its item is not done
            record = self._decoded(raw, f"{self._out}:{number}")
            index = record.index
            if index is None:
                raise InputError(f"{self._out}:{number}: the id {record.id!r} is none that headrace gives")
            if limit is None or index < limit:
                missing = index + 1 - len(self._offsets)
                if missing > 0:
                    self._offsets.extend(array("q", [_NOWHERE]) * missing)
                self._offsets[index] = offset
                if not record.failed:
                    answer = record.headrace.answer
                    if isinstance(answer, dict):
                        self.keys.note(answer)
                    else:
                        self.texts = True
            offset += len(raw)

    def _decoded(self, raw: bytes, where: str) -> Record:
        try:
            return decode_answered(raw)
        except NOT_JSON as error:
            raise InputError(f"{where}: damaged: {error}") from None

    def of(self, item: Item) -> Record | None:
        """The line of an item, None where it has none; raises `InputError` where it is another item's."""
        offset = self._offsets[item.index] if item.index < len(self._offsets) else _NOWHERE
        if offset == _NOWHERE:
            return None
        self._file.seek(offset)
        record = self._decoded(self._file.readline(), str(self._out))
        if record.custom_id != item.id:
            raise InputError(
                f"{self._out}: {record.id} is {record.custom_id!r} there, but {item.id!r} in the input: "
                "an output of another input, or of another id column"
            )
        return record
