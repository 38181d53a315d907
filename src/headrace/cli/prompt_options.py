"""The options of `headrace run` that make the request of a row: prompts, examples, values from columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.cli.options import Command

_OPTIONS = [
    click.option("--prompt", help="Prompt template; {name} is replaced by the row's column of that name."),
    click.option(
        "--prompt-file", metavar="FILE", type=options.FILE, help="File with the prompt template, in UTF-8."
    ),
    click.option("--system", metavar="TEXT", help="System message; {name} is replaced as in the prompt."),
    click.option(
        "--system-file", metavar="FILE", type=options.FILE, help="File with the system message, in UTF-8."
    ),
    click.option(
        "--template",
        type=click.Choice(["braces", "jinja"]),
        help="Language of the templates; default: Jinja for files that end in .j2, else braces.",
    ),
    click.option("--messages", metavar="COLUMN", help="Column with a conversation: a list of messages."),
    click.option(
        "--examples",
        metavar="FILE",
        type=options.FILE,
        help="Examples for the model: rows with the prompt's columns and a column answer.",
    ),
    click.option(
        "--on-missing",
        type=click.Choice(["refuse", "fail-row"]),
        default="refuse",
        help="If a row lacks a column: send nothing, or let that item fail; default: refuse.",
    ),
    options.model,
    click.option("--model-column", metavar="NAME", help="Column of the models; default: --model for all."),
    click.option(
        "--param",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        help="Parameter of the API, like temperature=0.3, or temperature=@temp for the value of the "
        "column temp; may be given several times.",
    ),
    click.option(
        "--extra-body",
        multiple=True,
        metavar="KEY=JSON",
        help="Member that only your endpoint has, like chat_template_kwargs.enable_thinking=false; may be "
        "given several times.",
    ),
    click.option(
        "--tag",
        "tags",
        multiple=True,
        metavar="NAME=VALUE",
        help="Tag for accounting and logs, like team=shop or tenant=@tenant; may be given several times.",
    ),
    click.option(
        "--samples", type=options.COUNT, metavar="N", help="Number of answers for each row; all are kept."
    ),
    click.option(
        "--vote", is_flag=True, help="With --samples: the row's answer is its most frequent choice."
    ),
    click.option(
        "--priority",
        default="0",
        metavar="N",
        help="Priority among calls that wait, an integer or @column; default: 0.",
    ),
]


def prompt_options(command: Command) -> Command:
    """Add the options to a command."""
    return options.with_all(_OPTIONS, command)


def prompt_arguments(values: dict[str, Any]) -> dict[str, Any]:
    """Remove the values of the options, and return the arguments of `headrace.bulk.run` that they mean.

    ``model`` is left in place, because it belongs to the client.

    Raises:
        InputError: A value is malformed, or two options exclude each other.
    """
    arguments = {
        name: values.pop(name) for name in ("template", "messages", "examples", "model_column", "on_missing")
    }
    for part in ("prompt", "system"):
        arguments[part] = _text_or_file(part, values.pop(part), values.pop(f"{part}_file"))
    arguments["parameters"] = options.parsed(values.pop("parameters"))
    arguments["extra_body"] = extra_body_of(values.pop("extra_body"))
    arguments["tags"] = _tags(values.pop("tags"))
    arguments["priority"] = _priority(values.pop("priority"))
    return arguments


def sample_arguments(values: dict[str, Any]) -> dict[str, Any]:
    """As `prompt_arguments`, for the number of answers."""
    return {name: values.pop(name) for name in ("samples", "vote")}


def _text_or_file(part: str, text: str | None, file: str | None) -> str | Path | None:
    from headrace.errors import InputError

    if file is None:
        return text
    if text is not None:
        name = {"prompt": "prompt", "system": "system message"}[part]
        raise InputError(f"--{part} and --{part}-file both set the {name}; leave out one of them")
    return Path(file)


def _priority(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text  # a column; anything else is an error of the run


def _pair(option: str, text: str, example: str) -> tuple[str, str]:
    from headrace.errors import InputError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"{option} {text[:80]!r}: must be like {example}")
    return name, value


def _tags(texts: Iterable[str]) -> dict[str, str]:
    from headrace.errors import InputError

    tags: dict[str, str] = {}
    for text in texts:
        name, value = _pair("--tag", text, "team=shop")
        if name in tags:
            raise InputError(f"--tag {name}: is given twice")
        tags[name] = value
    return tags


def extra_body_of(texts: Iterable[str]) -> dict[str, Any]:
    """A JSON object of members like ``a.b=1``; each dot begins an object inside."""
    import msgspec

    from headrace.errors import InputError

    found: dict[str, Any] = {}
    for text in texts:
        key, value = _pair("--extra-body", text, "top_k=40")
        *outer, name = key.split(".")
        inside = found
        for each in outer:
            inside = inside.setdefault(each, {})
            if not isinstance(inside, dict):
                raise InputError(f"--extra-body {key}: {each} has another value already; leave out one")
        if not name or "" in outer:
            raise InputError(f"--extra-body {key}: a name between the dots is missing")
        if name in inside:
            raise InputError(f"--extra-body {key}: is given twice")
        try:
            inside[name] = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise InputError(
                f"--extra-body {key}={value[:80]}: the value is not JSON; write true, 0.5 or '\"text\"'"
            ) from None
    return found
