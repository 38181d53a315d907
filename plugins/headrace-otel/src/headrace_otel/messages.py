"""Prompts and answers in the conventions' format: messages made of parts, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from headrace_otel.conventions import Conventions
from headrace_otel.span_target import Value

_TEXT_TYPES = {"text", "input_text", "output_text"}
_encode = msgspec.json.Encoder().encode


def input_attributes(body: Mapping[str, Any] | None, conventions: Conventions) -> dict[str, Value]:
    """Return the input messages and tools of a chat completion, a message or a response."""
    body = body or {}
    attributes: dict[str, Value] = {}
    items = body.get("messages", body.get("input"))
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if messages := [_message(item, conventions) for item in _mappings(items)]:
        attributes["gen_ai.input.messages"] = _encode(messages).decode()
    if isinstance(instructions := body.get("instructions"), str):
        attributes["gen_ai.system_instructions"] = _encode([_text(instructions)]).decode()
    if tools := tool_definitions(body):
        attributes["gen_ai.tool.definitions"] = _encode(tools).decode()
    return attributes


def tool_definitions(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tools of a chat, response or message in one format."""
    tools = [*_mappings(body.get("tools")), *_mappings(body.get("functions"))]
    return [_tool(tool) for tool in tools]


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition of one tool."""
    kind = tool.get("type")
    nested = tool.get("function")
    function: Mapping[str, Any] = nested if isinstance(nested, Mapping) else tool
    parameters = function.get("parameters", function.get("input_schema"))
    is_function = kind in {None, "function", "custom"}
    definition = {"type": "function" if is_function else str(kind), "name": str(function.get("name") or kind)}
    if isinstance(description := function.get("description"), str):
        definition["description"] = description
    return definition if parameters is None else definition | {"parameters": parameters}


def output_attributes(body: Any, conventions: Conventions) -> dict[str, Value]:
    """Return the output messages: one per choice, or one for all items of a response."""
    if not isinstance(body, Mapping):
        return {}
    messages = []
    for choice in _mappings(body.get("choices")):
        content = choice.get("message")
        message = _message(content if isinstance(content, Mapping) else {"role": "assistant"}, conventions)
        messages.append(message | _finish_reason(_reason(choice.get("finish_reason")), conventions))
    if items := _mappings(body.get("output")):
        parts = [part for item in items for part in _message(item, conventions)["parts"]]
        reason = "stop" if body.get("status") == "completed" else "length"
        messages = [{"role": "assistant", "parts": parts} | _finish_reason(reason, conventions)]
    return {"gen_ai.output.messages": _encode(messages).decode()} if messages else {}


def _finish_reason(reason: str, conventions: Conventions) -> dict[str, str]:
    """Return the finish reason of a message; the latest conventions have an attribute for it instead."""
    return {} if conventions.is_latest else {"finish_reason": reason}


def _reason(reason: Any) -> str:
    """Return a finish reason in the conventions' words."""
    return "tool_call" if reason == "tool_calls" else str(reason or "")


def _message(message: Mapping[str, Any], conventions: Conventions) -> dict[str, Any]:
    """Convert a message of a chat completion, or an item of a response, which may be a tool call."""
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
    """Convert a part of a message."""
    kind = str(part.get("type") or "unknown")
    if kind in _TEXT_TYPES and isinstance(part.get("text"), str):
        return _text(part["text"])
    # An image or a sound may be megabytes: only its type is recorded.
    return {"type": "generic", "generic_type": kind} if conventions.is_latest else {"type": kind}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}


def _tool_call(identity: Any, function: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a tool call."""
    arguments = function.get("arguments")
    # Invalid arguments of the model are recorded unchanged.
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
    """Return the objects in a sequence; an empty list for anything else."""
    is_list = isinstance(items, Iterable) and not isinstance(items, (str, bytes, Mapping))
    return [item for item in items if isinstance(item, Mapping)] if is_list else []
