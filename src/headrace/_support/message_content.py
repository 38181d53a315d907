"""Reads a message: text, reasoning and tool calls, in the forms that endpoints use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

_TAGS = ("<think>", "<thought>")
"""Tags that models (DeepSeek, Qwen; Gemini) put around reasoning if the server does not remove it."""

_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")


def content_of(message: Mapping[str, Any]) -> tuple[str, str]:
    """The text and the reasoning of a message; "" if it has none."""
    text, reasoning = split_parts(message.get("content"))
    thoughts, text = split_thoughts(text)
    return text, "".join([reasoning_of(message), reasoning, thoughts])


def split_parts(content: Any) -> tuple[str, str]:
    """The text and the reasoning of a message's ``content``: a string or a list of parts."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        return "", ""
    texts, thoughts = [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            kind = part.get("type", "text")
            if kind == "thinking" or kind == "reasoning":  # Mistral, Anthropic
                thoughts.append(_text_in(part, "thinking", "reasoning", "text", "content", "summary"))
            elif isinstance(kind, str) and kind.endswith("text"):  # also output_text, summary_text
                texts.append(_text_in(part, "text", "content"))
    return "".join(texts), "".join(thoughts)


def _text_in(part: Mapping[str, Any], *names: str) -> str:
    """The text of the first of these fields that holds one; Mistral's ``thinking`` is a list of parts."""
    for name in names:
        found = part.get(name)
        if isinstance(found, str):
            return found
        if isinstance(found, (list, Mapping)):
            return split_parts(found)[0]
    return ""


def reasoning_of(message: Mapping[str, Any]) -> str:
    """The reasoning in a separate field, beside the content of a message or delta."""
    for name in _REASONING_FIELDS:
        found = message.get(name)
        if found and isinstance(found, str):
            return found
        if isinstance(found, (list, Mapping)):
            text, thoughts = split_parts(found)
            if text or thoughts:
                return text + thoughts
    details = message.get("reasoning_details")  # OpenRouter: the same reasoning in parts
    if isinstance(details, list):
        return "".join(_text_in(part, "text", "summary") for part in details if isinstance(part, Mapping))
    return ""


def split_thoughts(text: str) -> tuple[str, str]:
    """The reasoning in a think block at the start of a text, and the rest of the text."""
    if "<th" not in text:  # true for nearly all texts
        return "", text
    splitter = ThoughtSplitter()
    parts = [splitter.feed(text), splitter.end()]
    return "".join(thought for _, thought in parts), "".join(answer for answer, _ in parts)


class ThoughtSplitter:
    """Separates the reasoning in a think block from the text, chunk by chunk.

    Only a block at the start counts: later in the text, a model may write about such tags. Characters that
    could begin a tag are held back until more arrive.
    """

    __slots__ = ("_close", "_held", "_state")

    def __init__(self) -> None:
        self._state = "start"
        self._held = ""
        self._close = ""

    @property
    def in_text(self) -> bool:
        """True once all further chunks are text."""
        return self._state == "text"

    def feed(self, chunk: str) -> tuple[str, str]:
        """Add a chunk; returns the text and the reasoning that are certain now."""
        if self._state == "text":
            return chunk, ""
        held = self._held + chunk
        if self._state == "start":
            begun = held.lstrip()
            tag = next((tag for tag in _TAGS if begun.startswith(tag)), None)
            if tag is None:
                if not begun or any(tag.startswith(begun) for tag in _TAGS):
                    self._held = held
                    return "", ""
                self._state, self._held = "text", ""
                return held, ""
            self._state, self._close = "thoughts", tag.replace("<", "</")
            held = begun[len(tag) :]
        if self._state == "thoughts":
            thoughts, closed, rest = held.partition(self._close)
            if not closed:
                kept = _overlap(held, self._close)
                self._held = held[len(held) - kept :]
                return "", held[: len(held) - kept]
            self._state, held = "gap", rest
        else:
            thoughts = ""
        held = held.lstrip()  # line feeds after the block
        self._held = ""
        if held:
            self._state = "text"
        return held, thoughts

    def end(self) -> tuple[str, str]:
        """The text and the reasoning that were held back."""
        held, self._held = self._held, ""
        return ("", held) if self._state == "thoughts" else (held, "")


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of ``text`` could be the start of ``tag``."""
    return next((n for n in range(min(len(text), len(tag) - 1), 0, -1) if tag.startswith(text[-n:])), 0)


def tool_calls_in(calls: Any) -> list[dict[str, Any]]:
    """Tool calls in the form of the API: an id, a name, and arguments as JSON text.

    A call without an id gets one made from its index, so that its result can refer to it.
    """
    if isinstance(calls, Mapping):
        calls = [calls]
    if not isinstance(calls, list):
        return []
    return [_normalized(index, call) for index, call in enumerate(calls)]


def _normalized(index: int, call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    id, arguments = call.get("id"), function.get("arguments")
    if id and isinstance(id, str) and (arguments is None or isinstance(arguments, str)):
        return call
    function = {**function, "arguments": arguments_text(arguments)}
    return {**call, "id": str(id or f"call_{index}"), "type": "function", "function": function}


def arguments_text(arguments: Any) -> str:
    """The arguments of a tool call as JSON text; some endpoints send the object itself."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def output_text(output: Any) -> tuple[str, str]:
    """The text and the reasoning of the output items of a response."""
    texts, thoughts = [], []
    for item in output if isinstance(output, list) else ():
        if isinstance(item, Mapping):
            content = item.get("content")
            if item.get("type") == "reasoning":
                parts: Iterable[Any] = [item.get("summary"), content]
                thoughts += [_text_in({"text": part}, "text") for part in parts]
            else:
                text, thought = split_parts(content)
                texts.append(text)
                thoughts.append(thought)
    return "".join(texts), "".join(thoughts)


def first_choice(body: Any) -> Mapping[str, Any] | None:
    """The first choice with a message or a text in a decoded body; None if there is none."""
    choices = body.get("choices") if isinstance(body, Mapping) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping) and (
            isinstance(choice.get("message"), Mapping) or isinstance(choice.get("text"), str)
        ):
            return choice
    return None


def text_and_reasoning(body: Any) -> tuple[str, str] | None:
    """The text and the reasoning of a decoded body; None if it contains no answer."""
    choice = first_choice(body)
    if choice is not None:
        message = choice.get("message")
        if isinstance(message, Mapping):
            return content_of(message)
        return split_thoughts(choice["text"])[::-1]
    if isinstance(body, Mapping) and isinstance(body.get("output"), list):
        return output_text(body["output"])
    return None
