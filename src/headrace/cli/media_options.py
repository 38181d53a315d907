"""The options of `headrace run` for images, files and audio from columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from headrace.cli import options

if TYPE_CHECKING:
    from headrace.cli.options import Command

_COLUMNS = ("image", "file", "audio")

_OPTIONS = [
    click.option(
        "--image",
        multiple=True,
        metavar="COLUMN",
        help="Column of images: paths, URLs, data URIs or bytes; may be given several times.",
    ),
    click.option(
        "--file",
        multiple=True,
        metavar="COLUMN",
        help="Column of files, like PDFs: paths, data URIs or bytes; may be given several times.",
    ),
    click.option(
        "--audio",
        multiple=True,
        metavar="COLUMN",
        help="Column of recordings: paths, data URIs or bytes; may be given several times.",
    ),
    click.option(
        "--max-pixels",
        type=options.COUNT,
        metavar="N",
        help="Scale larger images down to N pixels (width × height); default: no limit.",
    ),
]


def media_options(command: Command) -> Command:
    """Add the options to a command."""
    return options.with_all(_OPTIONS, command)


def media_arguments(values: dict[str, Any]) -> dict[str, Any]:
    """Remove the values of the options, and return the arguments of `headrace.bulk.run` that they mean."""
    arguments = {name: values.pop(name) or None for name in _COLUMNS}
    return {**arguments, "max_pixels": values.pop("max_pixels")}
