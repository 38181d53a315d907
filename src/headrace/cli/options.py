"""Options that several commands have, and what their values say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = click.Path()
"""A file's name, which shells complete. That it can be read or written is seen when it is."""

model = click.option("--model", help="Model to ask; default: HEADRACE_MODEL, or headrace.toml.")
base_url = click.option("--base-url", metavar="URL", help="Endpoint; default: OPENAI_BASE_URL.")
system = click.option("--system", metavar="TEXT", help="System message above each prompt.")
parameters = click.option(
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
