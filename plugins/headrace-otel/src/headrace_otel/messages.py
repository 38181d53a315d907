"""Prompts and answers in the form of the conventions: messages made of parts, written as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from headrace_otel.conventions import Conventions
from headrace_otel.target import Value

_TEXTS = {"text", "input_text", "output_text"}
_write = msgspec.json.Encoder().encode


def input_attributes(body: Mapping[str, Any] | None, conventions: Conventions) -> dict[str, Value]:
    """What a chat completion, a message or a response was asked, and with which tools."""
    body = body or {}
    found: dict[str, Value] = {}
    asked = body.get("messages", body.get("input"))
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    if messages := [_message(item, conventions) for item in _mappings(asked)]:
        found["gen_ai.input.messages"] = _write(messages).decode()
    if isinstance(instructions := body.get("instructions"), str):
        found["gen_ai.system_instructions"] = _write([_text(instructions)]).decode()
    if tools := tool_definitions(body):
        found["gen_ai.tool.definitions"] = _write(tools).decode()
    return found


def tool_definitions(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tools that a body offers, as chats, responses and messages write them, in one form."""
    offered = [*_mappings(body.get("tools")), *_mappings(body.get("functions"))]
    return [_tool(tool) for tool in offered]


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    kind = tool.get("type")
    said = tool.get("function")
    function: Mapping[str, Any] = said if isinstance(said, Mapping) else tool
    parameters = function.get("parameters", function.get("input_schema"))
    is_function = kind in {None, "function", "custom"}
    definition = {"type": "function" if is_function else str(kind), "name": str(function.get("name") or kind)}
    if isinstance(description := function.get("description"), str):
        definition["description"] = description
    return definition if parameters is None else definition | {"parameters": parameters}


def output_attributes(body: Any, conventions: Conventions) -> dict[str, Value]:
    """What was answered: a message for each choice; one for all items of a response."""
    if not isinstance(body, Mapping):
        return {}
    messages = []
    for choice in _mappings(body.get("choices")):
        said = choice.get("message")
        message = _message(said if isinstance(said, Mapping) else {"role": "assistant"}, conventions)
        messages.append(message | _end(_reason(choice.get("finish_reason")), conventions))
    if items := _mappings(body.get("output")):
        parts = [part for item in items for part in _message(item, conventions)["parts"]]
        reason = "stop" if body.get("status") == "completed" else "length"
        messages = [{"role": "assistant", "parts": parts} | _end(reason, conventions)]
    return {"gen_ai.output.messages": _write(messages).decode()} if messages else {}


def _end(reason: str, conventions: Conventions) -> dict[str, str]:
    """Why a message ended; the latest conventions have that in an attribute of its own."""
    return {} if conventions.is_latest else {"finish_reason": reason}


def _reason(reason: Any) -> str:
    return "tool_call" if reason == "tool_calls" else str(reason or "")


def _message(message: Mapping[str, Any], conventions: Conventions) -> dict[str, Any]:
    """A message of a chat completion, or an item of a response, which may be a call of a tool by itself."""
    kind = message.get("type")
    role = str(message.get("role") or ("tool" if kind == "function_call_output" else "assistant"))
    if kind == "function_call":
        return {"role": role, "parts": [_tool_call(message.get("call_id"), message)]}
    if kind == "function_call_output":
        return {"role": role, "parts": [_tool_response(message.get("call_id"), message.get("output"))]}
    if role == "tool":
        return {"role": role, "parts": [_tool_response(message.get("tool_call_id"), message.get("content"))]}
    parts = []
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thoughts, str):
        parts.append({"type": "reasoning", "content": thoughts})
    content = message.get("content")
    if isinstance(content, str):
        parts.append(_text(content))
    parts += [_part(part, conventions) for part in _mappings(content)]
    for call in _mappings(message.get("tool_calls")):
        function = call.get("function")
        parts.append(_tool_call(call.get("id"), function if isinstance(function, Mapping) else {}))
    return {"role": role, "parts": parts}


def _part(part: Mapping[str, Any], conventions: Conventions) -> dict[str, Any]:
    kind = str(part.get("type") or "unknown")
    if kind in _TEXTS and isinstance(part.get("text"), str):
        return _text(part["text"])
    # An image or a sound may be megabytes: that it was there is said, and no more.
    return {"type": "generic", "generic_type": kind} if conventions.is_latest else {"type": kind}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _tool_call(identity: Any, function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    # A mistake of the model's is shown as it was made.
    with suppress(msgspec.DecodeError, UnicodeError, RecursionError, TypeError):
        arguments = msgspec.json.decode(arguments or "null")
    return {
        "type": "tool_call",
        "id": identity,
        "name": str(function.get("name") or ""),
        "arguments": arguments,
    }


def _tool_response(identity: Any, response: Any) -> dict[str, Any]:
    return {"type": "tool_call_response", "id": identity, "response": response}


def _mappings(items: Any) -> list[Mapping[str, Any]]:
    is_list = isinstance(items, Iterable) and not isinstance(items, (str, bytes, Mapping))
    return [item for item in items if isinstance(item, Mapping)] if is_list else []
