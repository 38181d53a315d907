"""Prompts that a function of the user makes."""

from __future__ import annotations

import functools
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import CodeType
from typing import Any

import attrs
import msgspec

from headrace.bulk.prompts.conversation import check_messages
from headrace.bulk.prompts.error_text import type_and_text
from headrace.errors import InputError, RequestError
from headrace.wire.json_encoding import encode_value
from headrace.wire.request_bodies import Message


@attrs.frozen
class PromptFunction:
    """A prompt made by a function: row → text or list of messages.

    The function is called in the main process of the run, once for each item that is sent.

    Args:
        function: The function.

    Raises:
        InputError: The function is async.
    """

    function: Callable[[dict[str, Any]], str | Sequence[Message]]
    columns: tuple[str, ...] = attrs.field(default=("row",), init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        function = _plain_function(self.function)
        if inspect.iscoroutinefunction(function):
            raise InputError(f"prompt=: {_name(function)} is async; pass a function without async")

    @property
    def text(self) -> str:
        """The function's qualified name and a hash of its code, which identify the prompt of a run.

        The hash is of the source; of a lambda, and without source, of the bytecode. It does not cover other
        functions that the function calls, or values from outside of it.
        """
        function = _plain_function(self.function)
        digest = hashlib.sha256(_code(function).encode())
        if isinstance(self.function, functools.partial):
            arguments = [self.function.args, self.function.keywords]
            digest.update(msgspec.json.encode(arguments, enc_hook=lambda value: type(value).__qualname__))
        return f"{_name(function)} sha256:{digest.hexdigest()[:32]}"

    def check(self, row: Mapping[str, Any], where: str) -> None:
        """Do nothing: only calling the function shows which columns it reads."""

    def render(self, row: Mapping[str, Any]) -> str | list[Message]:
        """The prompt or the messages for one row; raises `InputError` if the function fails."""
        try:
            found = self.function(dict(row))
        except Exception as error:
            raise InputError(f"the prompt function raised {type_and_text(error)}") from error
        if isinstance(found, str):
            return found
        try:
            messages = check_messages(found)
            encode_value(messages, "messages")
        except RequestError as error:
            raise InputError(f"the prompt function: {error}") from None
        except ValueError as error:
            raise InputError(
                f"the prompt function must return a string or a list of messages; {error}"
            ) from None
        return messages


def _plain_function(function: Any) -> Any:
    """The function that holds the code, inside of partials and objects that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = type(function).__call__
    return inspect.unwrap(function)


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"


def _code(function: Any) -> str:
    """The source of a function, or else its bytecode.

    The source of a lambda is not used: `inspect` returns the whole statement around it.
    """
    if getattr(function, "__name__", "") != "<lambda>":
        with suppress(OSError, TypeError):
            return textwrap.dedent(inspect.getsource(function))
    code = getattr(function, "__code__", None)
    return "" if code is None else "\n".join(_bytecode(code))


def _bytecode(code: CodeType) -> Iterator[str]:
    """The instructions, names and constants of a function, without its place in the file."""
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _bytecode(constant)
        else:  # the order of a frozenset differs between processes
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
