"""The lines of the output: OpenAI's batch format, with headrace's own notes under ``headrace``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from headrace.errors import InvalidReply
from headrace.replies import Headers, Reply
from headrace.wire.embeddings import Vector, parse_vectors
from headrace.wire.finish_reasons import finish_reason_of

_ID_PREFIX, _MOST_DIGITS = "headrace-", 15
_LONGEST_TIME = 1e10
"""Seconds. Longer than any run, and later than any clock."""


_EMBEDDING = b'"embedding"'
"""A member of each embedding. Text of an answer cannot contain it, because JSON escapes its quotes."""


class LineResponse(msgspec.Struct, gc=False):
    """The endpoint's response: status, request id, and the unchanged body."""

    status_code: int | None
    request_id: str | None
    body: msgspec.Raw


class LineError(msgspec.Struct, gc=False):
    """Why an item failed."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class LineNotes(msgspec.Struct, gc=False, omit_defaults=True):
    """Headrace's own data in a line. Times are in seconds, costs in USD.

    ``digest`` is a checksum of the row, by which a resumed run finds rows that have changed. ``fingerprint``
    is not in the file: in a run that was continued with another prompt or model, it is the number, from 1, of
    what the line was made with; see `read_fingerprints`. It is 0 in all other runs.

    A line of a job with steps has ``steps``, the answers by their columns. Its times, costs and tokens are
    the sums of all steps; ``cost_in_steps`` is the part that lines of the steps journal hold. Such a line has
    ``step``, the name of its step, and ``request``, a digest of the request.

    A line of a run with samples has ``answers``, all its answers, null for one that could not be read, and
    with a vote ``votes``, their number by choice. Its sums are those of all its calls.
    """

    attempts: Annotated[int, msgspec.Meta(ge=0)]
    elapsed: Annotated[float, msgspec.Meta(ge=0, le=_LONGEST_TIME)]
    completed_at: Annotated[float, msgspec.Meta(ge=0, le=_LONGEST_TIME)] | None = None
    cost: Decimal | None = None
    possible_cost: Decimal | None = None
    answer: Any = None
    digest: int = 0
    fingerprint: int = 0
    steps: dict[str, Any] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_in_steps: Decimal | None = None
    step: str | None = None
    request: str | None = None
    answers: list[Any] | None = None
    votes: dict[str, int] | None = None


class OutputLine(msgspec.Struct, gc=False):
    """One line of the output; `encode_line` writes it and `decode_line` reads it."""

    id: str
    custom_id: str
    response: LineResponse | None
    error: LineError | None
    headrace: LineNotes

    @property
    def index(self) -> int | None:
        """The number of the item in its run; None if headrace did not write this line."""
        return _index_of(self.id)

    @property
    def status(self) -> int | None:
        """The status of the response, None without one."""
        return None if self.response is None else self.response.status_code

    @property
    def answered(self) -> bool:
        """Whether there is a successful reply, even if its answer was rejected."""
        return 200 <= (self.status or 0) < 300

    @property
    def answer(self) -> Any:
        """The parsed answer (a choice, an object), else the text of the reply; None without one."""
        if self.error is not None or self.response is None:
            return None
        if self.headrace.answer is None and self.headrace.answers is not None:
            return next((answer for answer in self.headrace.answers if answer is not None), None)
        return self.text if self.headrace.answer is None else self.headrace.answer

    @property
    def answers(self) -> list[Any] | None:
        """The answers of a run with samples, null for one that could not be read; None without samples."""
        return self.headrace.answers

    @property
    def steps(self) -> dict[str, Any] | None:
        """The answers of a job's steps by their columns, null for a skipped step; None without steps."""
        return self.headrace.steps

    @property
    def text(self) -> str | None:
        """The text of the reply, even if the item failed; None without one."""
        if not self.answered or self.response is None:
            return None
        try:
            return Reply(200, Headers([]), bytes(self.response.body)).text
        except InvalidReply:
            return None

    @property
    def vector(self) -> Vector | None:
        """The embedding in the reply, an ``array('f')``; None for an answer of another kind."""
        if self.error is not None or not self.answered or self.response is None:
            return None
        body = bytes(self.response.body)
        if _EMBEDDING not in body:
            return None
        try:
            return parse_vectors(Reply(200, Headers([]), body), 1)[0]
        except InvalidReply:
            return None

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended, by one name for all vendors; None without an answer or a reason."""
        if not self.answered or self.response is None:
            return None
        return finish_reason_of(bytes(self.response.body))


NO_ERROR = msgspec.Raw(b"null")
"""The error of an item that succeeded."""


class _EntryNotes(msgspec.Struct, gc=False):
    cost: Decimal | None = None
    possible_cost: Decimal | None = None
    cost_in_steps: Decimal | None = None
    digest: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)] = 0


class JournalEntry(msgspec.Struct):
    """The part of an output line that a resumed run needs, which is read in a third of the time."""

    id: str
    custom_id: str
    error: msgspec.Raw = NO_ERROR
    headrace: _EntryNotes = msgspec.field(default_factory=_EntryNotes)

    @property
    def index(self) -> int | None:
        """The number of the item in its run; None if headrace did not write this line."""
        return _index_of(self.id)

    @property
    def digest(self) -> int:
        """The digest of the item's row, 0 if unknown."""
        return self.headrace.digest

    @property
    def failed(self) -> bool:
        """Whether the line contains an error."""
        return self.error != NO_ERROR

    @property
    def spent(self) -> Decimal:
        """The item's cost in USD, including the maximum for attempts of unknown cost.

        What the steps journal holds is left out, because it is counted there.
        """
        notes = self.headrace
        return finite_sum(notes.cost, notes.possible_cost) - finite_sum(notes.cost_in_steps)


def finite_sum(*amounts: Decimal | None) -> Decimal:
    """The sum of the amounts that are known."""
    return sum((each for each in amounts if each is not None and each.is_finite()), Decimal(0))


def highest_index(entries: Iterable[JournalEntry]) -> int:
    """The highest number of lines that headrace wrote; at least one."""
    return max(map(int, [entry.id[len(_ID_PREFIX) :] for entry in entries]))


def _index_of(id: str) -> int | None:
    digits = id.removeprefix(_ID_PREFIX)
    if digits == id or not digits.isdecimal() or not digits.isascii() or len(digits) > _MOST_DIGITS:
        return None
    return int(digits)


_read_line: Callable[[bytes | str], OutputLine] = msgspec.json.Decoder(OutputLine).decode
decode_entry: Callable[[bytes | str], JournalEntry] = msgspec.json.Decoder(JournalEntry).decode

decode_entries: Callable[[bytes], list[JournalEntry]] = msgspec.json.Decoder(JournalEntry).decode_lines


def decode_line(raw: bytes | str) -> OutputLine:
    """Read an output line.

    Raises:
        msgspec.DecodeError: It is not JSON, or not an output line.
    """
    line = _read_line(raw)
    for cost in (line.headrace.cost, line.headrace.possible_cost):
        if cost is not None and not cost.is_finite():
            raise msgspec.ValidationError("the cost must be a finite number")
    return line
