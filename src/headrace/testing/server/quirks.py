"""Unusual answers that users have reported from real endpoints, as switches.

Each quirk changes the draft of an answer to a chat, complete or streamed. With a quirk of `READABLE`,
headrace still reads the answer. With a quirk of `UNREADABLE` there is no answer, and headrace raises an
error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON, decode_json

DONE = b"data: [DONE]\n\n"


@attrs.define
class ResponseDraft:
    """An answer that quirks can change before it is sent.

    Attributes:
        headers: Names in lower case.
        body: The decoded body of an answer that is not streamed.
        chunks: The decoded chunks of a streamed answer; otherwise empty.
        end: Bytes after the chunks.
        raw: Bytes to send instead of all of these.
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
        """Whether the answer is sent as server-sent events."""
        return bool(self.chunks)

    def choices(self) -> list[dict[str, Any]]:
        """The first choice of the answer, or of each chunk that has choices."""
        bodies = self.chunks if self.streamed else [self.body]
        return [body["choices"][0] for body in bodies if isinstance(body, dict) and body.get("choices")]

    def messages_with_content(self) -> list[dict[str, Any]]:
        """The message or the deltas, if they have content."""
        found = [choice.get("delta") or choice.get("message") or {} for choice in self.choices()]
        return [message for message in found if message.get("content")]

    def insert(self, at: int, delta: dict[str, Any] | None, **choice: Any) -> None:
        """Insert a chunk that is otherwise like the first one."""
        made = {"index": 0, "delta": delta, "finish_reason": None} | choice
        self.chunks.insert(at, {**self.chunks[0], "choices": [made], "usage": None})

    def events(self) -> list[bytes]:
        """The events of a streamed answer."""
        if self.raw is not None:
            return [self.raw]
        made = [b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in self.chunks]
        return [*made, self.end] if self.end else made

    def content(self) -> bytes:
        """The body of an answer that is not streamed."""
        return msgspec.json.encode(self.body) if self.raw is None else self.raw


Quirk: TypeAlias = Callable[[ResponseDraft], None]


def null_chunks(draft: ResponseDraft) -> None:
    """Further chunks with null as ``choices`` or as ``delta``, and ``data: null``."""
    if draft.streamed:
        draft.chunks[1:1] = [{**draft.chunks[0], "choices": None}, None]
        draft.insert(1, None)


def content_parts(draft: ResponseDraft) -> None:
    """The content as a list of parts."""
    for message in draft.messages_with_content():
        message["content"] = [{"type": "text", "text": message["content"]}]


def thinking_parts(draft: ResponseDraft) -> None:
    """The content as a list of parts; the first part is the model's thinking."""
    content_parts(draft)
    for message in draft.messages_with_content()[:1]:
        thoughts = [{"type": "text", "text": "Well."}]
        message["content"].insert(0, {"type": "thinking", "thinking": thoughts})


def think_block(draft: ResponseDraft) -> None:
    """A ``<think>`` block before the text."""
    for message in draft.messages_with_content()[:1]:
        message["content"] = f"<think>\nWell.\n</think>\n\n{message['content']}"


def reasoning_content(draft: ResponseDraft) -> None:
    """Reasoning in ``reasoning_content``, in addition to the content."""
    for message in draft.messages_with_content()[:1]:
        message["reasoning_content"] = "Well."


def code_fence(draft: ResponseDraft) -> None:
    """The text in a Markdown code fence, after an introduction."""
    messages_with_content = draft.messages_with_content()
    if messages_with_content:
        messages_with_content[0]["content"] = (
            f"Here you are:\n\n```json\n{messages_with_content[0]['content']}"
        )
        messages_with_content[-1]["content"] += "\n```\n"


def half_surrogate(draft: ResponseDraft) -> None:
    """A lone surrogate at the end of the text."""
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


def fractional_counts(draft: ResponseDraft) -> None:
    """Token counts with fractions, and a list as their details."""
    for body in draft.chunks or [draft.body]:
        if isinstance(body, dict) and body.get("usage"):
            usage = body["usage"]
            usage["prompt_tokens"] = float(usage.get("prompt_tokens") or 0)
            usage["completion_tokens"] = (usage.get("completion_tokens") or 0) + 0.5
            usage["prompt_tokens_details"] = []


def null_counts(draft: ResponseDraft) -> None:
    """Null for all token counts."""
    for body in draft.chunks or [draft.body]:
        if isinstance(body, dict) and body.get("usage"):
            body["usage"] = dict.fromkeys(body["usage"])


def fractional_created(draft: ResponseDraft) -> None:
    """A ``created`` with a fraction."""
    for body in draft.chunks or [draft.body]:
        if isinstance(body, dict):
            body["created"] = 1753.25


def no_done(draft: ResponseDraft) -> None:
    """A stream without ``[DONE]``."""
    draft.end = b""


def no_last_blank_line(draft: ResponseDraft) -> None:
    """A stream whose last event has no blank line after it."""
    draft.end = draft.end.rstrip()


def plain_content_type(draft: ResponseDraft) -> None:
    """``Content-Type: text/plain`` for every answer."""
    draft.headers["content-type"] = "text/plain"


def byte_order_mark(draft: ResponseDraft) -> None:
    """A byte order mark before the body."""
    draft.raw = b"\xef\xbb\xbf" + (b"".join(draft.events()) if draft.streamed else draft.content())


def single_choice(draft: ResponseDraft) -> None:
    """One choice, whatever ``n`` is; the usage still counts all."""
    if isinstance(draft.body, dict) and draft.body.get("choices"):
        draft.body["choices"] = draft.body["choices"][:1]
    draft.chunks = [
        chunk
        for chunk in draft.chunks
        if not (isinstance(chunk, dict) and any(choice["index"] for choice in chunk.get("choices") or ()))
    ]


def duplicate_tool_index(draft: ResponseDraft) -> None:
    """Two tool calls with the same index 0, arguments as objects, and no content."""
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


def no_choices(draft: ResponseDraft) -> None:
    """An empty object, or a stream with only ``[DONE]``."""
    draft.raw = DONE if draft.streamed else b"{}"


def error_with_200(draft: ResponseDraft) -> None:
    """An error with status 200; in a stream, after half of the text."""
    error = {"error": {"message": "The upstream is overloaded.", "code": 503}}
    draft.body = error
    if draft.streamed:
        draft.chunks = [*draft.chunks[: len(draft.chunks) // 2], error]
        draft.end = b""


def failed_choice(draft: ResponseDraft) -> None:
    """A choice that ends with ``"finish_reason": "error"``."""
    choices = draft.choices()
    choices[-1] |= {"finish_reason": "error", "error": {"code": 502, "message": "The provider was lost."}}


def proxy_text(draft: ResponseDraft) -> None:
    """A line of text from a proxy instead of an answer."""
    draft.raw, draft.headers["content-type"] = b"upstream timed out", "text/plain"


def html_page(draft: ResponseDraft) -> None:
    """An HTML page instead of an answer."""
    draft.raw = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
    draft.headers["content-type"] = "text/html"


def empty_body(draft: ResponseDraft) -> None:
    """An empty body."""
    draft.raw = b""


def payment_required(draft: ResponseDraft) -> None:
    """Status 402, because the account has no credit left."""
    error = {
        "message": "Insufficient Balance",
        "type": "unknown_error",
        "param": None,
        "code": "invalid_request",
    }
    draft.status, draft.raw = 402, msgspec.json.encode({"error": error})
    draft.headers["content-type"] = "application/json"


_READABLE: tuple[Quirk, ...] = (
    null_chunks,
    single_choice,
    content_parts,
    thinking_parts,
    think_block,
    reasoning_content,
    code_fence,
    half_surrogate,
    fractional_counts,
    null_counts,
    fractional_created,
    no_done,
    no_last_blank_line,
    plain_content_type,
    byte_order_mark,
    duplicate_tool_index,
)
_UNREADABLE: tuple[Quirk, ...] = (
    no_choices,
    error_with_200,
    failed_choice,
    proxy_text,
    html_page,
    empty_body,
    payment_required,
)


def _named(quirks: Iterable[Quirk]) -> dict[str, Quirk]:
    return {quirk.__name__.replace("_", "-"): quirk for quirk in quirks}


READABLE: Mapping[str, Quirk] = _named(_READABLE)
UNREADABLE: Mapping[str, Quirk] = _named(_UNREADABLE)


def find_quirks(names: Iterable[str]) -> tuple[Quirk, ...]:
    """The quirks with these names, in the order of application; raises `ValueError` for unknown names."""
    names, known = set(names), {**READABLE, **UNREADABLE}
    for name in sorted(names - known.keys()):
        raise ValueError(f"unknown quirk {name!r}: must be one of {', '.join(known)}")
    return tuple(quirk for name, quirk in known.items() if name in names)


def offered_tools(content: bytes) -> list[str]:
    """The names of the functions that a request offers as tools."""
    try:
        tools = decode_json(content).get("tools") or ()
        return [str(tool["function"]["name"]) for tool in tools]
    except (*NOT_JSON, AttributeError, KeyError, TypeError):
        return []
