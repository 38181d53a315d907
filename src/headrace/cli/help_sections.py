"""`--help` with the options of a command in sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

_REST = "Options"


class CommandWithSections(click.Command):
    """A command whose help shows its options in sections.

    Args:
        sections: The names of the parameters in each section, by its heading. Other options, such as those of
            engines, follow under "Options".
    """

    def __init__(
        self, *args: Any, sections: Mapping[str, Sequence[str]] | None = None, **keywords: Any
    ) -> None:
        super().__init__(*args, **keywords)
        self._sections = sections or {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        records = {
            parameter.name: record
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None
        }
        for heading, names in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl([records.pop(name) for name in names])
        if records:
            with formatter.section(_REST):
                formatter.write_dl(list(records.values()))
