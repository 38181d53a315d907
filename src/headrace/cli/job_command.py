"""A command that takes a job file in place of its input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.engine_options import CommandWithEngines
from headrace.errors import InputError

if TYPE_CHECKING:
    from headrace.cli.job_file import JobFile

_JOB = "headrace.cli.job"


class CommandWithJobs(CommandWithEngines):
    """A command whose INPUT may be a job file: a file whose name ends in ``.toml``.

    The values of the file are the defaults of the options, so an option on the command line wins.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the job file, if INPUT is one, and parse the arguments."""
        given = {} if ctx.resilient_parsing else self._given(ctx, args)  # a shell only completes
        name = given.get("input")
        if not isinstance(name, str) or not name.endswith(".toml"):
            return super().parse_args(ctx, args)
        from headrace.cli.job_file import JobFile

        job = JobFile.read(Path(name))
        defaults = job.options()
        if "out" not in defaults and given.get("out") is None:
            raise InputError(f'{name}: out is missing; add out = "answers.jsonl", or use --out')
        ctx.default_map = {**(ctx.default_map or {}), **defaults}
        ctx.meta[_JOB] = job
        try:
            rest = super().parse_args(ctx, args)
        except click.BadParameter as error:
            key = None if error.param is None else error.param.name
            if key in defaults and given.get(str(key)) is None:
                raise InputError(f"{name}: {key}: {error.message}") from None
            raise
        ctx.params["input"] = job.values["input"]
        return rest

    def _given(self, ctx: click.Context, args: list[str]) -> dict[str, object]:
        """The arguments as they stand; none if they cannot be parsed, which is an error later."""
        self.load_engines(args)
        try:
            return self.make_parser(ctx).parse_args(list(args))[0]
        except click.UsageError:
            return {}


def job_of(ctx: click.Context) -> JobFile | None:
    """The job file of a command."""
    job: JobFile | None = ctx.meta.get(_JOB)
    return job
