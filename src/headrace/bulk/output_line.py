"""The lines of the output: OpenAI's batch format, with headrace's own notes under ``headrace``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from math import floor
from typing import Annotated, Any

import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace.calls import Outcome
from headrace.errors import CallError, HeadraceError, InputError, InvalidReply, StatusError
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


def _plain(answer: Any) -> Any:
    """A pydantic model as plain values; msgspec cannot write it."""
    return answer.model_dump(mode="json")


def plain_answer(answer: Any) -> Any:
    """A typed answer as the values that a line has for it."""
    return msgspec.json.decode(_encode(answer))


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def encode_output_line(line: OutputLine) -> bytes:
    """A line that was read with `decode_line` and then changed, with its line feed."""
    return _encode(line) + b"\n"


_check_json = msgspec.json.Decoder(msgspec.Raw).decode

_DEEPEST = 100
"""Levels of nesting. No model's answer has ten."""


def encode_line(
    index: int,
    id: str,
    outcome: Outcome,
    answer: Any,
    error: HeadraceError | None,
    completed_at: float,
    digest: int = 0,
) -> bytes:
    """The output line of one item with its line feed; ``completed_at`` is in Unix seconds."""
    reply, content, why = outcome.reply, b"", None if error is None else _line_error(error)
    cost, possible_cost = cost_of(outcome)
    if reply is not None:
        content = reply.without_key(reply.content)
        if why is not None:
            why.message = reply.without_key(why.message)
        if answer is not None and content is not reply.content:
            answer = msgspec.Raw(reply.without_key(_encode(answer)))
    elapsed, completed_at = _rounded(outcome.elapsed, 1e6), _rounded(completed_at, 1e3)
    notes = LineNotes(outcome.attempts, elapsed, completed_at, cost, possible_cost, answer, digest)
    response = _line_response(reply, content, error)
    return _encode(OutputLine(f"headrace-{index}", id, response, why, notes)) + b"\n"


def cost_of(outcome: Outcome) -> tuple[Decimal | None, Decimal | None]:
    """The cost of an item in USD, failed or not, and the maximum for its attempts of unknown cost."""
    reply, error = outcome.reply, outcome.error
    if reply is not None:
        return reply.cost, reply.possible_cost
    return getattr(error, "cost", None), getattr(error, "possible_cost", None)


def _rounded(seconds: float, parts: float) -> float:
    """Seconds to a fraction of 1/``parts``; `round` takes four times as long."""
    return floor(seconds * parts + 0.5) / parts


def _line_error(error: HeadraceError) -> LineError:
    return LineError(code_of(error), encodable(str(error)))


def code_of(error: HeadraceError) -> str:
    """The code of an error; "input_error" if no request could be made for the item."""
    if isinstance(error, CallError):
        return error.code
    return "input_error" if isinstance(error, InputError) else "request_error"


def encodable(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _line_response(reply: Reply | None, content: bytes, error: HeadraceError | None) -> LineResponse | None:
    if reply is not None:
        request_id = reply.request_id
        return LineResponse(reply.status, request_id and reply.without_key(request_id), _body(content))
    if isinstance(error, StatusError) and error.headers is not None:
        request_id = error.headers.get("x-request-id")
        return LineResponse(error.status, request_id, _body(error.body))
    return None


def _body(content: bytes) -> Any:
    """The unchanged body if it is JSON that fits on a line; else its decoded value, or its text."""
    deep = content.count(b"[") + content.count(b"{") > _DEEPEST
    try:
        # Checking is cheaper than decoding, but it does not check UTF-8.
        body = _check_json(content)
        text = content.decode()
        if deep:
            # Every program must be able to read the line, so a body at the limit of depth is too deep.
            _check_json(b"[" * _DEEPEST + content + b"]" * _DEEPEST)
    except NOT_JSON:
        return content.decode("utf-8", "replace") or None if deep else _decoded_body(content)
    if "\n" in text or "\r" in text:
        # JSON escapes line breaks in strings, so these are between values.
        return msgspec.Raw(content.replace(b"\n", b" ").replace(b"\r", b" "))
    return body


def _decoded_body(content: bytes) -> Any:
    """The value of a body that is nearly JSON (a lone surrogate, ``NaN``); else its text."""
    try:
        return decode_json(content)
    except NOT_JSON:
        return content.decode("utf-8", "replace") or None
