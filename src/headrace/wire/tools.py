"""Tools: functions that a model may call, described to it by their types, its calls read back by the same."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import attrs
import msgspec

from headrace._support.text import nearest
from headrace.errors import AnswerError, RequestError
from headrace.replies import Reply
from headrace.wire.error_redaction import redact_error
from headrace.wire.json_encoding import encode_value
from headrace.wire.json_schema import NOT_READ, Read, one_line, root
from headrace.wire.strict_json_schema import strict_form

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_BY_NAME = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@attrs.frozen
class ToolCall:
    """A function that a model wants called: ``arguments`` are by name and of the function's types.

    Calling it calls the ``function``, which is awaited like any other if it is async. `result` makes the
    message that tells the model what came of it.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    function: Callable[..., Any] = attrs.field(repr=False)

    def __call__(self) -> Any:
        return self.function(**self.arguments)

    def result(self, value: Any) -> dict[str, Any]:
        """The message for the model: a string as it is, anything else as JSON.

        Raises `RequestError` for a value that JSON cannot say.
        """
        content = value if isinstance(value, str) else encode_value(value, f"{self.name}'s result").decode()
        return {"role": "tool", "tool_call_id": self.id, "content": content}


class _Function(msgspec.Struct):
    name: str
    arguments: str | None = None


class _Called(msgspec.Struct):
    id: str
    function: _Function


class Tools(list[dict[str, Any]]):
    """The functions that a model may call, as the list that the API wants for ``tools``.

    Each is described by its name, the first paragraph of its docstring and its parameters' types, which are
    any that msgspec knows (``Annotated[str, msgspec.Meta(description="…")]`` describes a parameter). Where no
    parameter has a default, and none is a map or a tuple, the model is held to the schema strictly.

    Raises `RequestError` for a function without annotations or with ``*args``, for a type that JSON cannot
    say, and for two of one name.
    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        super().__init__()
        self._tools: dict[str, tuple[Callable[..., Any], Read]] = {}
        for function in functions:
            name = getattr(function, "__name__", type(function).__name__)
            if not _NAME.fullmatch(name):
                raise RequestError(f"a tool cannot be called {name!r}; use a function with a name of its own")
            if name in self._tools:
                raise RequestError(f"two tools are called {name!r}; rename one of them")
            described, read = _described(name, function)
            self._tools[name] = function, read
            self.append(described)

    def __reduce__(self) -> Any:
        return Tools, tuple(function for function, _ in self._tools.values())

    def calls(self, reply: Reply) -> list[ToolCall]:
        """The calls that a reply asks for, in its order; empty where it asks for none.

        Raises `AnswerError`, of which ``partial`` is the reply, for a call of a function that is not among
        these, and for arguments that are not of its types.
        """
        try:
            return [self._read(call) for call in reply.tool_calls]
        except AnswerError as error:
            error.partial = reply
            if reply._endpoint is not None:
                redact_error(error, reply._endpoint)
            raise

    def _read(self, call: Any) -> ToolCall:
        try:
            called = msgspec.convert(call, _Called)
        except msgspec.ValidationError as error:
            said = f"{str(call)[:80]!r} ({one_line(error)})"
            raise AnswerError(f"the model called a tool without saying which: {said}") from None
        name, arguments = called.function.name, called.function.arguments
        if name not in self._tools:
            raise AnswerError(f"the model called a tool {name!r}; {nearest(name, self._tools)}")
        function, read = self._tools[name]
        try:
            # Some endpoints write nothing where there is nothing to be said.
            return ToolCall(called.id, name, read((arguments or "{}").encode()), function)
        except NOT_READ as error:
            said = f"{arguments[:80]!r}: {one_line(error)}" if arguments else one_line(error)
            raise AnswerError(f"the model called {name} with {said}") from error


def _described(name: str, function: Callable[..., Any]) -> tuple[dict[str, Any], Read]:
    """What the API is told of a function, and what reads the arguments of its calls."""
    parameters = inspect.signature(function).parameters
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise RequestError(f"tool {name!r}: its annotations cannot be read: {error}") from error
    fields: list[Any] = []
    for parameter in parameters.values():
        if parameter.kind not in _BY_NAME:
            raise RequestError(f"tool {name!r}: {parameter} cannot be given by name; name each parameter")
        if parameter.name not in hints:
            raise RequestError(f"tool {name!r}: parameter {parameter.name!r} has no type; annotate it")
        field = (parameter.name, hints[parameter.name])
        fields.append(field if parameter.default is parameter.empty else (*field, parameter.default))
    try:
        struct = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
        schema, read = root(msgspec.json.schema(struct)), msgspec.json.Decoder(struct).decode
    except (TypeError, RuntimeError) as error:
        raise RequestError(f"tool {name!r}: {one_line(error)}") from error
    schema.pop("title", None)
    described: dict[str, Any] = {"name": name}
    text = inspect.getdoc(function)
    if text:
        described["description"] = " ".join(text.partition("\n\n")[0].split())
    # Strictly, the model would have to say what it may leave out.
    whole = all(parameter.default is parameter.empty for parameter in parameters.values())
    strict = strict_form(schema) if whole else None
    described |= {"parameters": schema} if strict is None else {"parameters": strict, "strict": True}

    def arguments(content: bytes) -> dict[str, Any]:
        given = read(content)
        return {name: getattr(given, name) for name in parameters}

    return {"type": "function", "function": described}, arguments
