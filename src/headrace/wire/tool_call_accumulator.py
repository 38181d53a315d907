"""Joins the parts of streamed tool calls. No I/O.

At OpenAI, ``index`` identifies the call of a part. Other endpoints give all parallel calls the index 0,
repeat the name in each part, or send complete calls without index or id. So a part starts a new call if it
cannot belong to the call with its index.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace._support.message_content import arguments_text


class _PartialCall:
    __slots__ = ("arguments", "id", "name", "others", "type")

    def __init__(self) -> None:
        self.id: str | None = None
        self.type = "function"
        self.name = ""
        self.arguments: list[str] = []
        self.others: dict[str, Any] = {}

    def is_complete(self) -> bool:
        """Return whether the arguments are a JSON object, after which nothing can follow."""
        try:
            return isinstance(msgspec.json.decode("".join(self.arguments)), dict)
        except NOT_JSON:
            return False


class ToolCallAccumulator:
    """Joins the parts of one choice's tool calls, added in order of arrival."""

    __slots__ = ("_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[_PartialCall] = []
        self._by_index: dict[int, _PartialCall] = {}

    def add(self, part: dict[str, Any]) -> None:
        """Add a part; fields of the wrong type are ignored."""
        function = part.get("function")
        if not isinstance(function, dict):
            function = {}
        id = part.get("id")
        id = id if isinstance(id, str) and id else str(id) if isinstance(id, int) else None
        name, arguments = function.get("name"), arguments_text(function.get("arguments"))
        name = name if isinstance(name, str) else ""
        call = self._find_or_start_call(_parse_index(part.get("index")), id, name, arguments)
        call.id = call.id or id
        if isinstance(part.get("type"), str) and part["type"]:
            call.type = part["type"]
        if name != call.name:  # some endpoints repeat it
            call.name += name
        if arguments:
            call.arguments.append(arguments)
        for key, value in part.items():
            if key not in {"index", "id", "type", "function"} and value is not None:
                call.others[key] = value

    def _find_or_start_call(
        self, index: int | None, id: str | None, name: str, arguments: str
    ) -> _PartialCall:
        """Return the call to which a part belongs."""
        if index is not None:
            call = self._by_index.get(index)
        elif id is not None:
            call = next((each for each in self._calls if each.id == id), None)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None or _starts_new_call(call, id, name, arguments):
            call = _PartialCall()
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls in the API's form; a call without an id gets one by its position."""
        return [
            {
                "id": call.id or f"call_{number}",
                "type": call.type,
                "function": {"name": call.name, "arguments": "".join(call.arguments)},
            }
            | call.others
            for number, call in enumerate(self._calls)
        ]


def _parse_index(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _starts_new_call(call: _PartialCall, id: str | None, name: str, arguments: str) -> bool:
    """Return whether a part cannot belong to this earlier call."""
    if id is not None and call.id is not None and id != call.id:
        return True
    if id is not None and id == call.id:
        return False
    if not name or not call.arguments:
        return False
    return name != call.name or (arguments.lstrip()[:1] == "{" and call.is_complete())
