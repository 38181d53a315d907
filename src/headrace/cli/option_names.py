"""Turns the names of settings in error messages into the options and variables that the user set.

Errors name a setting as Python does: ``max_in_flight=0: must be at least 1``. A user of the command line
passed ``--max-in-flight 0`` or set ``HEADRACE_MAX_IN_FLIGHT=0``, so the message must name that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import click
from click.core import ParameterSource

_OTHER_NAMES = {"schema": ["answer"], "budget": ["cost: budget", "[cost] budget"]}
"""Names of a parameter in messages, in addition to its own."""

_ADVICE = {
    "fresh=True": "--fresh",
    "keep_done=True": "--keep-done",
    'use task="embed"': "use headrace embed",
    'leave out task="embed"': "use headrace run",
    'changed="resend"': "--changed resend",
    'only="failed"': "--only failed",
    '--only "failed"': "--only failed",
    "pass a key as api_key= instead": "set OPENAI_API_KEY instead",
    "OPENAI_API_KEY or api_key=": "OPENAI_API_KEY",
    "pass insecure=True": "set HEADRACE_INSECURE=true",
    "the JSON schema --schema": "the JSON schema",
    "pass a Path as the prompt": "use --prompt-file",
    "pass a Path as the system message": "use --system-file",
    "or pass api_key= or another --base-url": "or another --base-url",
}
"""Advice about settings without an option, and phrases that would name an option twice."""

_RUNNING = "headrace.cli.running"
_START = r"(?<![\w'\"./-])"
"""A name begins here. Names inside quotes and paths are values."""


class CommandContext(click.Context):
    """A context that the group can find after its command raised an error."""

    def __init__(self, *args: object, **extra: object) -> None:
        super().__init__(*args, **extra)  # type: ignore[arg-type]
        self.find_root().meta[_RUNNING] = self


def with_options(message: str, ctx: click.Context) -> str:
    """The message with options and variables instead of names of settings.

    Advice (``set model=``) names the option. A value (``limit=0``) gets the name of the option or variable
    that set it. A value from a file keeps the name of its setting.

    A command of a plugin tells of bulk runs, so advice in its messages names the options of ``headrace run``.
    """
    for name, option, was_given in _options(ctx):
        start = _START + re.escape(name)
        message = re.sub(rf"{start}=(?=[\s,;:.)]|$)", option, message)
        variable = "OPENAI_BASE_URL" if name == "base_url" else f"HEADRACE_{name.upper()}"
        if was_given:
            message = re.sub(rf"{start} ?= ?(?=\S)", f"{option} ", message)
        elif variable in os.environ:
            message = re.sub(rf"{start}=(?=\S)", f"{variable}=", message)
        if "_" in name and (was_given or variable in os.environ):  # never an English word, unlike model
            message = re.sub(rf"{start}(?![\w=])", option if was_given else variable, message)
    for advice, instead in _ADVICE.items():
        message = message.replace(advice, instead)
    return message


def _options(ctx: click.Context) -> Iterator[tuple[str, str, bool]]:
    """Each name of an option in messages, the option, and whether it was given."""
    running = ctx.find_root().meta.get(_RUNNING)
    command: click.Command | None = None
    if isinstance(running, click.Context):
        command, ctx = running.command, running
    elif isinstance(ctx.command, click.Group):
        command = ctx.command.commands.get("run")
    for parameter in () if command is None else command.get_params(ctx):
        if isinstance(parameter, click.Option) and parameter.name is not None:
            source = ctx.get_parameter_source(parameter.name) if running is not None else None
            was_given = source is ParameterSource.COMMANDLINE
            for name in [*_OTHER_NAMES.get(parameter.name, ()), parameter.name]:
                yield name, parameter.opts[0], was_given
