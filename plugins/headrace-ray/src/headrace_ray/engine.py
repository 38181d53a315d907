"""`headrace run --engine ray`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from headrace.bulk import Job, Summary


class RayEngine:
    """The engine called ``ray``."""

    name = "ray"

    @property
    def options(self) -> Sequence[click.Option]:
        """Those that ``headrace run`` has besides its own."""
        return [
            click.Option(
                ["--ray-address"], metavar="ADDRESS", help="Of a Ray cluster, like auto; default: one here."
            ),
            click.Option(
                ["--actors"],
                type=click.IntRange(min=1),
                metavar="N",
                help="Ray actors that share the calls; default: half of the processors.",
            ),
            click.Option(["--parquet"], is_flag=True, help="At the end, OUT/parquet with what is done."),
        ]

    def run(self, job: Job, options: Mapping[str, Any]) -> Summary:
        """Run a job."""
        # Importing Ray takes seconds, and every `headrace run` asks the plugins for their engines.
        from headrace_ray.job import run_job

        return run_job(job, options)
