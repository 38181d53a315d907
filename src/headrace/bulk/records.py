"""The lines of the output: OpenAI's batch format, with what headrace knows besides under ``headrace``."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace.calls import Outcome
from headrace.errors import CallError, HeadraceError, StatusError
from headrace.replies import Reply

_ID = re.compile(r"headrace-(\d{1,15})")
_FOREVER = 1e10
"""Seconds: more than any run takes, and any clock shows."""


class Spent(msgspec.Struct, gc=False):
    """What is read back of what an item cost."""

    cost: Decimal | None = None
    possible_cost: Decimal | None = None


class Line(msgspec.Struct):
    """What is read back of an output line: its place in the input, what it cost, and whether it failed."""

    id: str
    error: msgspec.Raw = msgspec.Raw(b"null")
    headrace: Spent = msgspec.field(default_factory=Spent)

    @property
    def spent(self) -> Decimal:
        """What the item cost in USD, what attempts of unknown cost may have cost included."""
        amounts = (self.headrace.cost, self.headrace.possible_cost)
        return sum((each for each in amounts if each is not None and each.is_finite()), Decimal(0))

    @property
    def index(self) -> int | None:
        """The item's place in the input, None for a line that headrace has not written."""
        match = _ID.fullmatch(self.id)
        return int(match[1]) if match else None

    @property
    def failed(self) -> bool:
        """True where the line holds an error."""
        return bytes(self.error) != b"null"


class _Response(msgspec.Struct, gc=False):
    status_code: int | None
    request_id: str | None
    body: Any


class _Error(msgspec.Struct, gc=False):
    code: str
    message: str


class _Notes(msgspec.Struct, gc=False, omit_defaults=True):
    attempts: Annotated[int, msgspec.Meta(ge=0)]
    elapsed: Annotated[float, msgspec.Meta(ge=0, le=_FOREVER)]
    completed_at: Annotated[float, msgspec.Meta(ge=0, le=_FOREVER)] | None = None
    cost: Decimal | None = None
    possible_cost: Decimal | None = None
    answer: Any = None


class _Written(msgspec.Struct, gc=False):
    id: str
    custom_id: str
    response: _Response | None
    error: _Error | None
    headrace: _Notes


def _plain(answer: Any) -> Any:
    """An answer that msgspec does not know how to write: pydantic's do it themselves."""
    return answer.model_dump(mode="json")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


class _Answer(msgspec.Struct, gc=False):
    status_code: int | None
    body: msgspec.Raw


class Record(msgspec.Struct, gc=False):
    """What a report reads back of an output line; decoding refuses one that headrace has not written."""

    id: Annotated[str, msgspec.Meta(pattern=rf"^{_ID.pattern}\Z")]
    response: _Answer | None
    error: _Error | None
    headrace: _Notes

    def __post_init__(self) -> None:
        if self.headrace.cost is not None and not self.headrace.cost.is_finite():
            raise ValueError("the cost is no number")

    @property
    def answered(self) -> bool:
        """True where a reply came, be it one whose answer was refused."""
        return 200 <= (self.status or 0) < 300

    @property
    def status(self) -> int | None:
        """The status of what came, None where nothing did."""
        return None if self.response is None else self.response.status_code


_DEEP = 100
"""Levels of nesting; no answer of a model's has ten."""

_look_through = msgspec.json.Decoder(msgspec.Raw).decode
decode_line: Callable[[bytes | str], Line] = msgspec.json.Decoder(Line).decode
decode_record: Callable[[bytes | str], Record] = msgspec.json.Decoder(Record).decode


def encode_line(
    index: int, id: str, outcome: Outcome, answer: Any, error: HeadraceError | None, completed_at: float
) -> bytes:
    """The output line of one item, line feed included; ``completed_at`` in Unix seconds."""
    reply, content, why = outcome.reply, b"", None if error is None else _error(error)
    cost, possible_cost = cost_of(outcome)
    if reply is not None:
        content = reply.without_key(reply.content)
        if why is not None:
            why.message = reply.without_key(why.message)
        if answer is not None and content is not reply.content:
            answer = msgspec.Raw(reply.without_key(_encode(answer)))
    elapsed, completed_at = _rounded(outcome.elapsed, 1e6), _rounded(completed_at, 1e3)
    notes = _Notes(outcome.attempts, elapsed, completed_at, cost, possible_cost, answer)
    response = _response(reply, content, error)
    return _encode(_Written(f"headrace-{index}", id, response, why, notes)) + b"\n"


def cost_of(outcome: Outcome) -> tuple[Decimal | None, Decimal | None]:
    """What an item cost in USD, be it a failure, and what attempts of unknown cost may have cost."""
    ended = outcome.reply if outcome.reply is not None else outcome.error
    return getattr(ended, "cost", None), getattr(ended, "possible_cost", None)


def _rounded(seconds: float, parts: float) -> float:
    """To so many parts of a second; ``round`` does it by way of a text, and takes four times as long."""
    return int(seconds * parts + 0.5) / parts


def _error(error: HeadraceError) -> _Error:
    return _Error(error.code if isinstance(error, CallError) else "request_error", encodable(str(error)))


def encodable(text: str) -> str:
    """The text, what cannot be written in UTF-8 (half a surrogate pair) replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _response(reply: Reply | None, content: bytes, error: HeadraceError | None) -> _Response | None:
    if reply is not None:
        request_id = reply.request_id
        return _Response(reply.status, request_id and reply.without_key(request_id), _body(content))
    if isinstance(error, StatusError) and error.headers is not None:
        request_id = error.headers.get("x-request-id")
        return _Response(error.status, request_id, _body(error.body))
    return None


def _body(content: bytes) -> Any:
    """The body as it came where it fits on a line of UTF-8, else decoded, or as text where it is not JSON."""
    deep = content.count(b"[") + content.count(b"{") > _DEEP
    try:
        # Looked through and not decoded, which is all that is needed for most; that it is UTF-8 is not seen.
        body = _look_through(content)
        content.decode()
        if deep:
            # The line must be read again, by other programs too: what is only just readable would not be.
            _look_through(b"[" * _DEEP + content + b"]" * _DEEP)
    except NOT_JSON:
        return content.decode("utf-8", "replace") or None if deep else _odd(content)
    if b"\n" in content or b"\r" in content:
        # Between values alone: in a string they are escaped.
        return msgspec.Raw(content.replace(b"\n", b" ").replace(b"\r", b" "))
    return body


def _odd(content: bytes) -> Any:
    """What a body means that is not strict JSON, as half a surrogate pair or ``NaN`` in it; else its text."""
    try:
        return decode_json(content)
    except NOT_JSON:
        return content.decode("utf-8", "replace") or None
