"""Tools: functions that a model may call. Their types describe them to the model and check its calls."""

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
from headrace.wire.json_schema import DECODE_ERRORS, Decode, inline_root, one_line
from headrace.wire.strict_json_schema import to_strict_schema

_VALID_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KEYWORD_KINDS = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@attrs.frozen
class ToolCall:
    """A model's call of a function.

    Calling this object calls the function; await the result if the function is async. `result` makes the
    message that returns a value to the model.

    Attributes:
        id: The endpoint's id of the call.
        name: The name of the function.
        arguments: The arguments by name, of the function's types.
        function: The function.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    function: Callable[..., Any] = attrs.field(repr=False)

    def __call__(self) -> Any:
        return self.function(**self.arguments)

    def result(self, value: Any) -> dict[str, Any]:
        """Return the message for the model.

        Args:
            value: The result: a string is sent unchanged, any other value as JSON.

        Raises:
            RequestError: JSON cannot represent the value.
        """
        content = value if isinstance(value, str) else encode_value(value, f"{self.name}'s result").decode()
        return {"role": "tool", "tool_call_id": self.id, "content": content}


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    id: str
    function: _CalledFunction


class Tools(list[dict[str, Any]]):
    """Functions that a model may call, as the API's list for ``tools``.

    A function is described by its name, the first paragraph of its docstring, and the types of its
    parameters. These are all types that msgspec supports; ``Annotated[str, msgspec.Meta(description="…")]``
    describes a parameter. If no parameter has a default, and none is a map or a tuple, strict mode is used.

    Raises:
        RequestError: A function has a parameter without annotation or ``*args``, JSON cannot represent a
            parameter's type, or two functions have the same name.
    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        super().__init__()
        self._tools: dict[str, tuple[Callable[..., Any], Decode]] = {}
        for function in functions:
            name = getattr(function, "__name__", type(function).__name__)
            if not _VALID_NAME.fullmatch(name):
                raise RequestError(
                    f"a tool cannot be called {name!r}; name the function with letters, digits, _ and -"
                )
            if name in self._tools:
                raise RequestError(f"two tools are called {name!r}; rename one of them")
            description, decode = _describe(name, function)
            self._tools[name] = function, decode
            self.append(description)

    def __reduce__(self) -> Any:
        return Tools, tuple(function for function, _ in self._tools.values())

    def calls(self, reply: Reply) -> list[ToolCall]:
        """Return the calls in a reply, in its order; empty if it has none.

        Raises:
            AnswerError: The model called an unknown function, or used arguments of other types. Its
                ``partial`` is the reply.
        """
        try:
            return [self._parse_call(call) for call in reply.tool_calls]
        except AnswerError as error:
            error.partial = reply
            if reply._endpoint is not None:
                redact_error(error, reply._endpoint)
            raise

    def _parse_call(self, call: Any) -> ToolCall:
        """Return a call with its arguments decoded; raise `AnswerError` for a wrong one."""
        try:
            called = msgspec.convert(call, _ToolCall)
        except msgspec.ValidationError as error:
            details = f"{str(call)[:80]!r} ({one_line(error)})"
            raise AnswerError(f"the model sent an invalid tool call: {details}") from None
        name, arguments = called.function.name, called.function.arguments
        if name not in self._tools:
            raise AnswerError(f"the model called a tool {name!r}; {nearest(name, self._tools)}")
        function, decode = self._tools[name]
        try:
            # Some endpoints send empty arguments instead of {}.
            return ToolCall(called.id, name, decode((arguments or "{}").encode()), function)
        except DECODE_ERRORS as error:
            details = f"{arguments[:80]!r}: {one_line(error)}" if arguments else one_line(error)
            raise AnswerError(f"the model called {name} with {details}") from error


def _describe(name: str, function: Callable[..., Any]) -> tuple[dict[str, Any], Decode]:
    """Return a function's description for the API, and a decoder for the arguments of its calls."""
    parameters = inspect.signature(function).parameters
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise RequestError(f"tool {name!r}: its annotations cannot be read: {error}") from error
    fields: list[Any] = []
    for parameter in parameters.values():
        if parameter.kind not in _KEYWORD_KINDS:
            raise RequestError(
                f"tool {name!r}: {parameter} cannot be passed by keyword; use named parameters only"
            )
        if parameter.name not in hints:
            raise RequestError(f"tool {name!r}: parameter {parameter.name!r} has no type; annotate it")
        field = (parameter.name, hints[parameter.name])
        fields.append(field if parameter.default is parameter.empty else (*field, parameter.default))
    try:
        struct = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
        schema, decode = inline_root(msgspec.json.schema(struct)), msgspec.json.Decoder(struct).decode
    except (TypeError, RuntimeError) as error:
        raise RequestError(f"tool {name!r}: {one_line(error)}") from error
    schema.pop("title", None)
    description: dict[str, Any] = {"name": name}
    docstring = inspect.getdoc(function)
    if docstring:
        description["description"] = " ".join(docstring.partition("\n\n")[0].split())
    # In strict mode the model must pass every parameter, so a default would never be used.
    all_required = all(parameter.default is parameter.empty for parameter in parameters.values())
    strict = to_strict_schema(schema) if all_required else None
    description |= {"parameters": schema} if strict is None else {"parameters": strict, "strict": True}

    def decode_arguments(content: bytes) -> dict[str, Any]:
        arguments = decode(content)
        return {name: getattr(arguments, name) for name in parameters}

    return {"type": "function", "function": description}, decode_arguments
