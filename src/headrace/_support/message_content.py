"""What a message says: its text, its reasoning and its tool calls, however an endpoint writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

_TAGS = ("<think>", "<thought>")
"""What models (DeepSeek, Qwen; Gemini) put around their reasoning when nobody takes it out."""

_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")


def content_of(message: Mapping[str, Any]) -> tuple[str, str]:
    """The text and the reasoning of a message, "" for none."""
    text, reasoning = split_parts(message.get("content"))
    thoughts, text = split_thoughts(text)
    return text, "".join([reasoning_of(message), reasoning, thoughts])


def split_parts(content: Any) -> tuple[str, str]:
    """The text and the reasoning of a ``content``, which is a string or a list of parts."""
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
    """The text under the first of the names that holds some; Mistral's thinking is a list of parts."""
    for name in names:
        found = part.get(name)
        if isinstance(found, str):
            return found
        if isinstance(found, (list, Mapping)):
            return split_parts(found)[0]
    return ""


def reasoning_of(message: Mapping[str, Any]) -> str:
    """The reasoning that stands beside the content of a message or delta."""
    for name in _REASONING_FIELDS:
        found = message.get(name)
        if found and isinstance(found, str):
            return found
        if isinstance(found, (list, Mapping)):
            text, thoughts = split_parts(found)
            if text or thoughts:
                return text + thoughts
    details = message.get("reasoning_details")  # OpenRouter: the same once more, by parts
    if isinstance(details, list):
        return "".join(_text_in(part, "text", "summary") for part in details if isinstance(part, Mapping))
    return ""


def split_thoughts(text: str) -> tuple[str, str]:
    """The reasoning in a think block at the beginning of a text, and what follows it."""
    if "<th" not in text:  # nearly all are like this
        return "", text
    splitter = ThoughtSplitter()
    parts = [splitter.feed(text), splitter.end()]
    return "".join(thought for _, thought in parts), "".join(said for said, _ in parts)


class ThoughtSplitter:
    """Tells the reasoning in a think block from the text, piece by piece.

    A block counts at the beginning only: further on, a model may write about such tags. What may yet become
    a tag is held back until it is clear.
    """

    __slots__ = ("_close", "_held", "_state")

    def __init__(self) -> None:
        self._state = "start"
        self._held = ""
        self._close = ""

    @property
    def in_text(self) -> bool:
        """True once all that follows is text."""
        return self._state == "text"

    def feed(self, piece: str) -> tuple[str, str]:
        """The text and the reasoning that are clear with ``piece``."""
        if self._state == "text":
            return piece, ""
        held = self._held + piece
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
            thoughts, closed, held_on = held.partition(self._close)
            if not closed:
                kept = _overlap(held, self._close)
                self._held = held[len(held) - kept :]
                return "", held[: len(held) - kept]
            self._state, held = "gap", held_on
        else:
            thoughts = ""
        held = held.lstrip()  # the line feeds after the block
        self._held = ""
        if held:
            self._state = "text"
        return held, thoughts

    def end(self) -> tuple[str, str]:
        """What was held back."""
        held, self._held = self._held, ""
        return ("", held) if self._state == "thoughts" else (held, "")


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``tag``."""
    return next((n for n in range(min(len(text), len(tag) - 1), 0, -1) if tag.startswith(text[-n:])), 0)


def tool_calls_in(calls: Any) -> list[dict[str, Any]]:
    """Tool calls in the form that the API has them: with an id, a name, and arguments as a JSON text.

    One without an id gets one by its place, so that its result can name it.
    """
    if isinstance(calls, Mapping):
        calls = [calls]
    if not isinstance(calls, list):
        return []
    return [_in_usual_form(number, call) for number, call in enumerate(calls)]


def _in_usual_form(number: int, call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    id, arguments = call.get("id"), function.get("arguments")
    if id and isinstance(id, str) and (arguments is None or isinstance(arguments, str)):
        return call
    function = {**function, "arguments": arguments_text(arguments)}
    return {**call, "id": str(id or f"call_{number}"), "type": "function", "function": function}


def arguments_text(arguments: Any) -> str:
    """The arguments of a call as a JSON text; some endpoints send the object itself."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def output_text(output: Any) -> tuple[str, str]:
    """The text and the reasoning of a response's output items."""
    texts, thoughts = [], []
    for item in output if isinstance(output, list) else ():
        if isinstance(item, Mapping):
            said = item.get("content")
            if item.get("type") == "reasoning":
                parts: Iterable[Any] = [item.get("summary"), said]
                thoughts += [_text_in({"text": part}, "text") for part in parts]
            else:
                text, thought = split_parts(said)
                texts.append(text)
                thoughts.append(thought)
    return "".join(texts), "".join(thoughts)
