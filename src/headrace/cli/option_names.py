"""Turns the names of settings in error messages into the options of the command that ran.

Errors name a setting as Python does: ``max_in_flight=0: must be at least 1``. A user of the command line gave
``--max-in-flight 0``, so that is what the message must say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import click
from click.core import ParameterSource

_OTHER_NAMES = {"schema": ["answer"], "budget": ["cost: budget", "[cost] budget"]}
"""Other names of a parameter in messages; without these, a parameter has only its own name."""

_NOT_QUOTED = r"(?<![\w'\"./-])"


class CommandContext(click.Context):
    """A context that the group can find after its command raised an error."""

    def __init__(self, *args: object, **extra: object) -> None:
        super().__init__(*args, **extra)  # type: ignore[arg-type]
        self.find_root().meta[_RUNNING] = self


_RUNNING = "headrace.cli.running"


def with_options(message: str, root: click.Context) -> str:
    """The message with options instead of names of settings.

    A name that stands for a value (``limit=0``) is replaced only if the option was given: otherwise the value
    comes from the environment or a file. A name that is advice (``set model=``) is always replaced.
    """
    ctx = root.meta.get(_RUNNING)
    if not isinstance(ctx, click.Context):
        return message
    given, options = _options(ctx)
    for name, option in options.items():
        escaped = _NOT_QUOTED + re.escape(name)
        message = re.sub(rf"{escaped}=(?=[\s,;:.)]|$)", option, message)
        if name in given:
            message = re.sub(rf"{escaped} ?= ?(?=\S)", f"{option} ", message)
            if not name.isalpha():  # base_url is never an English word, but model is
                message = re.sub(rf"{escaped}(?![\w=])", option, message)
    return message


def _options(ctx: click.Context) -> tuple[set[str], Mapping[str, str]]:
    """The names that were given on the command line, and the option of each name."""
    given: set[str] = set()
    options: dict[str, str] = {}
    for parameter in ctx.command.get_params(ctx):
        if isinstance(parameter, click.Option) and parameter.name is not None:
            names = [*_OTHER_NAMES.get(parameter.name, ()), parameter.name]
            options |= dict.fromkeys(names, parameter.opts[0])
            if ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
                given.update(names)
    return given, options
