"""Options that several commands have, and what their values say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace._support.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol, TypeVar

    Command = TypeVar("Command", bound=Callable[..., Any])

    class Option(Protocol):
        """Adds an option to a command."""

        def __call__(self, command: Command, /) -> Command: ...


FILE = click.Path()
"""A file's name, which shells complete. That it can be read or written is seen when it is."""


class Quantity(click.ParamType[float]):
    """The type of an option that people write with a unit; ``parse`` raises `ValueError` for what is none."""

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


DURATION = Quantity("duration", parse_duration)


model: Option = click.option("--model", help="Model to ask; default: HEADRACE_MODEL, or headrace.toml.")
base_url: Option = click.option("--base-url", metavar="URL", help="Endpoint; default: OPENAI_BASE_URL.")
system: Option = click.option("--system", metavar="TEXT", help="System message above each prompt.")
parameters: Option = click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the API, like temperature=0.3; may be said several times.",
)


def parsed(parameters: Iterable[str]) -> dict[str, Any]:
    """Parameters by name; a value that is no JSON is a text."""
    import msgspec

    from headrace.errors import InputError

    values: dict[str, Any] = {}
    for parameter in parameters:
        name, said, value = parameter.partition("=")
        if not said or not name or name in values:
            raise InputError(f"--param {parameter!r}: must be like temperature=0.3, each name once")
        try:
            values[name] = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            values[name] = value
    return values


def json_file(option: str, path: str) -> Any:
    """What a file of JSON holds, an object."""
    import msgspec

    from headrace.errors import InputError

    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=dict[str, Any])
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{option} {path}: not a JSON object: {error}") from None
