"""Tool calls that come in parts, put together; no I/O.

OpenAI says by ``index`` to which call a part belongs. Others give all parallel calls the index 0, repeat the
name in each part, or send whole calls without index or id. So a part begins a call where it cannot belong to
the one that its index names.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace._support.message_content import arguments_text


class _Call:
    __slots__ = ("arguments", "id", "name", "others", "type")

    def __init__(self) -> None:
        self.id: str | None = None
        self.type = "function"
        self.name = ""
        self.arguments: list[str] = []
        self.others: dict[str, Any] = {}

    def whole(self) -> bool:
        """True where the arguments are a JSON object that nothing can follow."""
        try:
            return isinstance(msgspec.json.decode("".join(self.arguments)), dict)
        except NOT_JSON:
            return False


class ToolCallAccumulator:
    """Takes the parts of one choice's tool calls in the order in which they come."""

    __slots__ = ("_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def add(self, part: dict[str, Any]) -> None:
        """Add a part; what is odd in it is left out."""
        function = part.get("function")
        if not isinstance(function, dict):
            function = {}
        given = part.get("id")
        id = given if isinstance(given, str) and given else str(given) if isinstance(given, int) else None
        name, arguments = function.get("name"), arguments_text(function.get("arguments"))
        name = name if isinstance(name, str) else ""
        call = self._call_of(_index(part.get("index")), id, name, arguments)
        call.id = call.id or id
        if isinstance(part.get("type"), str) and part["type"]:
            call.type = part["type"]
        if name != call.name:  # else it is repeated
            call.name += name
        if arguments:
            call.arguments.append(arguments)
        for key, value in part.items():
            if key not in {"index", "id", "type", "function"} and value is not None:
                call.others[key] = value

    def _call_of(self, index: int | None, id: str | None, name: str, arguments: str) -> _Call:
        if index is not None:
            call = self._by_index.get(index)
        elif id is not None:
            call = next((each for each in self._calls if each.id == id), None)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None or _begins_another(call, id, name, arguments):
            call = _Call()
            self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def calls(self) -> list[dict[str, Any]]:
        """The calls as the API has them; one without an id gets one by its place."""
        return [
            {
                "id": call.id or f"call_{number}",
                "type": call.type,
                "function": {"name": call.name, "arguments": "".join(call.arguments)},
            }
            | call.others
            for number, call in enumerate(self._calls)
        ]


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _begins_another(call: _Call, id: str | None, name: str, arguments: str) -> bool:
    """Whether a part cannot belong to a call that began before it."""
    if id is not None and call.id is not None and id != call.id:
        return True
    if id is not None and id == call.id:
        return False
    if not name or not call.arguments:
        return False
    return name != call.name or (arguments.lstrip()[:1] == "{" and call.whole())
