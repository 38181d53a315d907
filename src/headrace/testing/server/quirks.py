"""Odd ways to answer that people have reported of real endpoints, as switches.

Each quirk changes a draft of an answer to a chat, whole or streamed. Those of `READ` leave an answer in it,
which headrace reads; those of `REFUSED` leave none, and headrace raises an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_json

DONE = b"data: [DONE]\n\n"


@attrs.define
class Draft:
    """An answer before it is written.

    Attributes:
        headers: Names in lower case.
        body: The whole answer; where it is streamed, what its chunks make is not in here.
        chunks: The chunks of one that is streamed, else empty.
        end: What follows the chunks.
        raw: Bytes to send in place of all of these.
        status: HTTP status.
        tools: Names of the functions that the request offers.
    """

    headers: dict[str, str]
    body: Any = None
    chunks: list[Any] = attrs.field(factory=list)
    end: bytes = DONE
    raw: bytes | None = None
    status: int = 200
    tools: list[str] = attrs.field(factory=list)

    @property
    def streamed(self) -> bool:
        """Whether it goes out as events."""
        return bool(self.chunks)

    def choices(self) -> list[dict[str, Any]]:
        """The first choices: the whole answer's, or one of each chunk that has some."""
        bodies = self.chunks if self.streamed else [self.body]
        return [body["choices"][0] for body in bodies if isinstance(body, dict) and body.get("choices")]

    def said(self) -> list[dict[str, Any]]:
        """The message, or the deltas that have a content."""
        found = [choice.get("delta") or choice.get("message") or {} for choice in self.choices()]
        return [message for message in found if message.get("content")]

    def insert(self, at: int, delta: dict[str, Any] | None, **choice: Any) -> None:
        """Add a chunk like the others."""
        made = {"index": 0, "delta": delta, "finish_reason": None} | choice
        self.chunks.insert(at, {**self.chunks[0], "choices": [made], "usage": None})

    def events(self) -> list[bytes]:
        """The events of one that is streamed."""
        if self.raw is not None:
            return [self.raw]
        made = [b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in self.chunks]
        return [*made, self.end] if self.end else made

    def content(self) -> bytes:
        """The body of one that is not."""
        return msgspec.json.encode(self.body) if self.raw is None else self.raw


Quirk: TypeAlias = Callable[[Draft], None]


def null_chunks(draft: Draft) -> None:
    """Chunks with null for choices and for the delta, and ``data: null``, between the others."""
    if draft.streamed:
        draft.chunks[1:1] = [{**draft.chunks[0], "choices": None}, None]
        draft.insert(1, None)


def content_parts(draft: Draft) -> None:
    """The content as a list of parts."""
    for message in draft.said():
        message["content"] = [{"type": "text", "text": message["content"]}]


def thinking_parts(draft: Draft) -> None:
    """The content as a list of parts, of which the first is the model's thinking."""
    content_parts(draft)
    for message in draft.said()[:1]:
        thoughts = [{"type": "text", "text": "Well."}]
        message["content"].insert(0, {"type": "thinking", "thinking": thoughts})


def think_block(draft: Draft) -> None:
    """A ``<think>`` block before the text."""
    for message in draft.said()[:1]:
        message["content"] = f"<think>\nWell.\n</think>\n\n{message['content']}"


def reasoning_content(draft: Draft) -> None:
    """Reasoning in ``reasoning_content`` beside the content."""
    for message in draft.said()[:1]:
        message["reasoning_content"] = "Well."


def in_a_fence(draft: Draft) -> None:
    """Words and a fence around the text."""
    said = draft.said()
    if said:
        said[0]["content"] = f"Here you are:\n\n```json\n{said[0]['content']}"
        said[-1]["content"] += "\n```\n"


def half_a_character(draft: Draft) -> None:
    """Half of a surrogate pair at the end of the text."""
    encoded = [msgspec.json.encode(each) for each in (draft.chunks or [draft.body])]
    last = next((n for n in reversed(range(len(encoded))) if b'"content":"' in encoded[n]), None)
    if last is None:
        return
    before, after = encoded[last].split(b'"content":"', 1)
    text, _, rest = after.partition(b'"')
    encoded[last] = b'%b"content":"%b\\ud83d"%b' % (before, text, rest)
    if draft.streamed:
        draft.raw = b"".join(b"data: %b\n\n" % each for each in encoded) + draft.end
    else:
        draft.raw = encoded[0]


def odd_counts(draft: Draft) -> None:
    """Token counts with fractions, and a list for their details."""
    for body in draft.chunks or [draft.body]:
        if isinstance(body, dict) and body.get("usage"):
            usage = body["usage"]
            usage["prompt_tokens"] = float(usage.get("prompt_tokens") or 0)
            usage["completion_tokens"] = (usage.get("completion_tokens") or 0) + 0.5
            usage["prompt_tokens_details"] = []


def no_counts(draft: Draft) -> None:
    """Nulls for all token counts."""
    for body in draft.chunks or [draft.body]:
        if isinstance(body, dict) and body.get("usage"):
            body["usage"] = dict.fromkeys(body["usage"])


def odd_created(draft: Draft) -> None:
    """A ``created`` with a fraction."""
    for body in draft.chunks or [draft.body]:
        if isinstance(body, dict):
            body["created"] = 1753.25


def no_done(draft: Draft) -> None:
    """A stream without ``[DONE]``."""
    draft.end = b""


def no_last_blank_line(draft: Draft) -> None:
    """A stream whose last event has no blank line after it."""
    draft.end = draft.end.rstrip()


def plain_label(draft: Draft) -> None:
    """``Content-Type: text/plain`` for every answer."""
    draft.headers["content-type"] = "text/plain"


def byte_order_mark(draft: Draft) -> None:
    """A byte order mark before the body."""
    draft.raw = b"\xef\xbb\xbf" + (b"".join(draft.events()) if draft.streamed else draft.content())


def index_zero_tools(draft: Draft) -> None:
    """Two calls of tools at once, both with index 0, their arguments as objects, and no content."""
    names = (draft.tools * 2)[:2]
    calls = [
        {"index": 0, "id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": {}}}
        for n, name in enumerate(names)
    ]
    if not calls:
        return
    if draft.streamed:
        first = draft.chunks[0]
        draft.chunks = [{**first, "choices": [{"index": 0, "delta": {"role": "assistant"}}]}]
        for call in calls:
            draft.insert(len(draft.chunks), {"tool_calls": [call]})
        draft.insert(len(draft.chunks), {}, finish_reason="tool_calls")
    else:
        draft.body["choices"][0] |= {
            "message": {"role": "assistant", "tool_calls": calls},
            "finish_reason": "tool_calls",
        }


def no_answer(draft: Draft) -> None:
    """An empty object, or a stream that says ``[DONE]`` and nothing else."""
    draft.raw = DONE if draft.streamed else b"{}"


def error_as_success(draft: Draft) -> None:
    """An error under status 200; in a stream, after half of the text."""
    error = {"error": {"message": "The upstream is overloaded.", "code": 503}}
    draft.body = error
    if draft.streamed:
        draft.chunks = [*draft.chunks[: len(draft.chunks) // 2], error]
        draft.end = b""


def failed_choice(draft: Draft) -> None:
    """A choice that ends with ``"finish_reason": "error"``."""
    choices = draft.choices()
    choices[-1] |= {"finish_reason": "error", "error": {"code": 502, "message": "The provider was lost."}}


def plain_text(draft: Draft) -> None:
    """Words of a proxy in place of an answer."""
    draft.raw, draft.headers["content-type"] = b"upstream timed out", "text/plain"


def html_page(draft: Draft) -> None:
    """A page in place of an answer."""
    draft.raw = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
    draft.headers["content-type"] = "text/html"


def empty_body(draft: Draft) -> None:
    """Nothing in place of an answer."""
    draft.raw = b""


def no_credit(draft: Draft) -> None:
    """402, because the account has no credit left."""
    error = {
        "message": "Insufficient Balance",
        "type": "unknown_error",
        "param": None,
        "code": "invalid_request",
    }
    draft.status, draft.raw = 402, msgspec.json.encode({"error": error})
    draft.headers["content-type"] = "application/json"


_READ: tuple[Quirk, ...] = (
    null_chunks,
    content_parts,
    thinking_parts,
    think_block,
    reasoning_content,
    in_a_fence,
    half_a_character,
    odd_counts,
    no_counts,
    odd_created,
    no_done,
    no_last_blank_line,
    plain_label,
    byte_order_mark,
    index_zero_tools,
)
_REFUSED: tuple[Quirk, ...] = (
    no_answer,
    error_as_success,
    failed_choice,
    plain_text,
    html_page,
    empty_body,
    no_credit,
)


def _named(quirks: Iterable[Quirk]) -> dict[str, Quirk]:
    return {quirk.__name__.replace("_", "-"): quirk for quirk in quirks}


READ: Mapping[str, Quirk] = _named(_READ)
REFUSED: Mapping[str, Quirk] = _named(_REFUSED)


def quirks_of(names: Iterable[str]) -> tuple[Quirk, ...]:
    """The quirks of these names, in the order in which they are applied; raises `ValueError` for another."""
    names, known = set(names), {**READ, **REFUSED}
    for name in sorted(names - known.keys()):
        raise ValueError(f"there is no quirk {name!r}: choose among {', '.join(known)}")
    return tuple(quirk for name, quirk in known.items() if name in names)


def offered_tools(content: bytes) -> list[str]:
    """The names of the functions that a request's body offers."""
    try:
        tools = decode_json(content).get("tools") or ()
        return [str(tool["function"]["name"]) for tool in tools]
    except (*NOT_JSON, AttributeError, KeyError, TypeError):
        return []
