"""Options that several commands have, and the parsing of their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace._support.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Protocol, TypeVar

    from headrace.client import Client

    Command = TypeVar("Command", bound=Callable[..., Any])

    class Option(Protocol):
        """Adds an option to a command."""

        def __call__(self, command: Command, /) -> Command: ...


FILE = click.Path()
"""The name of a file, which shells complete. It is not checked before it is used."""


class Quantity(click.ParamType[float]):
    """The type of an option whose value has a unit; ``parse`` raises `ValueError` for a bad value."""

    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _duration(text: str) -> float:
    """Seconds; unlike in settings, a bare number is an error, because hours and minutes are common here."""
    seconds = parse_duration(text)
    number = text.strip()
    if seconds and number[-1:] in "0123456789.":
        raise ValueError(f"{text!r} has no unit: write {number}s, {number}m or {number}h")
    return seconds


DURATION = Quantity("duration", _duration)


class _Count(click.IntRange):
    name = "integer"


COUNT = _Count(min=1)


class _Usd(click.ParamType[str]):
    """An amount of money; kept as text, so that no digit is lost."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from headrace._support.units import parse_usd

        try:
            amount = parse_usd(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if amount < 0:
            self.fail(f"{value!r}: must be an amount in USD, like 5.00", param, ctx)
        return str(value)


USD = _Usd()

model: Option = click.option("--model", help="Model; default: HEADRACE_MODEL, or model in headrace.toml.")
base_url: Option = click.option("--base-url", metavar="URL", help="Base URL; default: OPENAI_BASE_URL.")
system: Option = click.option("--system", metavar="TEXT", help="System message before each prompt.")
parameters: Option = click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Parameter of the API, like temperature=0.3; may be given several times.",
)


def with_all(decorators: Sequence[Option], command: Command) -> Command:
    """The command with several options, in this order in its help."""
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def parsed(parameters: Iterable[str], also: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Parameters by name; a value that is not JSON is a string.

    Args:
        parameters: Texts like ``temperature=0.3``.
        also: Allowed names in addition to the parameters of the API.

    Raises:
        InputError: a parameter is malformed or unknown, or headrace has an option or a setting for it.
    """
    import msgspec

    from headrace._support.text import nearest
    from headrace.errors import InputError
    from headrace.wire.parameters import CHAT_PARAMETERS

    values: dict[str, Any] = {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if not equals or not name:
            raise InputError(f"--param {parameter!r}: must be like temperature=0.3")
        if name in values:
            raise InputError(f"--param {name}: is given twice")
        if instead := _instead_of_parameter(name):
            raise InputError(f"--param {name}: is not a parameter of the API; {instead}")
        if name not in CHAT_PARAMETERS | also:
            hint = nearest(name, CHAT_PARAMETERS)
            if _has_option("--extra-body"):
                hint += f"; --extra-body {name}=… sends a member that only your endpoint has"
            raise InputError(f"--param {name}: is not a parameter of the API; {hint}")
        try:
            values[name] = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            values[name] = value
    return values


def _instead_of_parameter(name: str) -> str | None:
    """The alternative to ``--param name=…``, if headrace has an option or a setting for it."""
    from headrace.settings.sections import core_keys

    key = name.replace("-", "_")
    option = f"--{key.replace('_', '-')}"
    if key == "messages" or (key == "prompt" and not _has_option(option)):
        return "the prompt makes the messages"
    if _has_option(option):
        return f"use {option}"
    if key == "api_key":
        return "set OPENAI_API_KEY"
    return f"set HEADRACE_{key.upper()}" if key in core_keys() else None


def _has_option(option: str) -> bool:
    return any(option in each.opts for each in click.get_current_context().command.params)


def require_model(client: Client) -> None:
    """Raise `SettingsError` if no model is set."""
    from headrace.errors import SettingsError

    if client.settings.model is None:
        raise SettingsError("no model: set model=, or HEADRACE_MODEL")


def json_file(option: str, path: str) -> Mapping[str, Any]:
    """The JSON object in a file."""
    import msgspec

    from headrace.errors import InputError

    try:
        with open(path, "rb") as file:
            found: dict[str, Any] = msgspec.json.decode(file.read(), type=dict[str, Any])
            return found
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{option} {path}: not a JSON object: {error}") from None
