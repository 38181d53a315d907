"""The engine of `headrace run --engine ray`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from headrace.bulk import Job, Summary


class RayEngine:
    """The engine ``ray``."""

    name = "ray"

    @property
    def options(self) -> Sequence[click.Option]:
        """The additional options of ``headrace run``."""
        return [
            click.Option(
                ["--ray-address"],
                metavar="ADDRESS",
                help="Address of a Ray cluster, like auto; default: a cluster on this machine.",
            ),
            click.Option(
                ["--actors"],
                type=click.IntRange(min=1),
                metavar="N",
                help="Ray actors that share the calls; default: half as many as the cluster has processors.",
            ),
            click.Option(
                ["--parquet"], is_flag=True, help="Write the finished items to OUT/parquet at the end."
            ),
        ]

    def run(self, job: Job, options: Mapping[str, Any]) -> Summary:
        """Run a job."""
        # Importing Ray takes seconds, and `headrace run --engine` loads the engines of all plugins.
        from headrace_ray.job import run_job

        return run_job(job, options)
