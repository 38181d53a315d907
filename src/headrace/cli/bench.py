"""`headrace bench`: measures the cost of a call on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import COUNT, DURATION

if TYPE_CHECKING:
    from headrace.cli.bench_measurement import Measurement

_LOOPS = ("asyncio", "uvloop", "trio")
_SIMULATED = """\
The endpoint is simulated by a Python process on the same cores, so calls/s and latencies depend mostly on it.
The figure to compare is the CPU time, which is that of this process alone."""


class _Numbers(click.ParamType[tuple[int, ...]]):
    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: must be integers separated by commas, like 1,10,100", param, ctx)
        if min(numbers) < 1:
            self.fail(f"{value!r}: each number must be at least 1", param, ctx)
        return numbers


@click.command(short_help="Measure what a call costs on this machine.")
@click.option("--calls", type=COUNT, default=5000, show_default=True, help="Calls per row.")
@click.option(
    "--in-flight",
    type=_Numbers(),
    default="1,10,100",
    show_default=True,
    help="One row for each.",
)
@click.option("--latency", type=DURATION, help="Time until a simulated answer, like 47ms; default: none.")
@click.option("--loop", type=click.Choice(_LOOPS), help="Event loop; default: uvloop if it is installed.")
@click.option("--base-url", metavar="URL", help="Your own endpoint, instead of the simulated one.")
@click.option("--model", help="Model of your own endpoint; default: HEADRACE_MODEL.")
@click.option("--yes", is_flag=True, help="Call your own endpoint without asking first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(
    calls: int,
    in_flight: tuple[int, ...],
    latency: float | None,
    loop: str | None,
    base_url: str | None,
    model: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Make many short calls, and print calls per second and the CPU time of each.

    The calls go to a simulated endpoint on this machine. Calls are real only with --base-url, and may cost
    money then; OPENAI_BASE_URL is ignored. Your settings choose the policies. The time to connect is
    included.

    \b
    Example:
      headrace bench --in-flight 100,1000 --latency 47ms --loop trio
    """
    import functools
    import importlib.util

    import anyio

    from headrace.cli.bench_measurement import measure_real, measure_simulated
    from headrace.cli.run import INTERRUPTED

    if base_url is None:
        if model is not None or yes:
            raise click.UsageError("--model and --yes need --base-url")
        measure = functools.partial(measure_simulated, latency or 0.0, calls, in_flight)
    else:
        if latency is not None:
            raise click.UsageError("--latency is for the simulated endpoint; leave it out with --base-url")
        number = (calls + 1) * len(in_flight)
        click.echo(f"This makes {number:,} real calls to {base_url}; they may cost money.", err=True)
        if not yes:
            click.confirm("Make them?", abort=True, err=True)
        measure = functools.partial(measure_real, base_url, model, calls, in_flight)
    loop = loop or ("uvloop" if importlib.util.find_spec("uvloop") else "asyncio")
    options = {"use_uvloop": loop == "uvloop"}
    measurement = None
    try:
        if loop == "trio":
            measurement = anyio.run(measure, backend="trio")
        else:
            measurement = anyio.run(measure, backend_options=options)
    except* KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
    if measurement is None:
        sys.exit(INTERRUPTED)
    show = _as_json if as_json else _as_text
    click.echo(show(measurement, calls, loop, simulated=base_url is None))


def _machine() -> str:
    """The number of cores, the system and Python."""
    import os
    import platform

    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def _as_json(measurement: Measurement, calls: int, loop: str, *, simulated: bool) -> str:
    import json

    import attrs

    known = {"machine": _machine(), "loop": loop, "simulated": simulated, "calls": calls}
    return json.dumps(known | attrs.asdict(measurement), indent=1)


def _as_text(measurement: Measurement, calls: int, loop: str, *, simulated: bool) -> str:
    lines = [
        f"{_machine()}, {loop}",
        f"{calls:,} calls per row; policies: {', '.join(measurement.policies) or 'none'}",
        "",
        f"{'in flight':>9}{'calls/s':>10}{'CPU µs/call':>13}{'mean ms':>10}{'p50 ms':>10}{'p99 ms':>10}",
    ]
    lines += [
        f"{row.in_flight:9,}{row.per_s:10,.0f}{row.cpu_us:13,.0f}"
        f"{row.mean_ms:10,.1f}{row.p50_ms:10,.1f}{row.p99_ms:10,.1f}"
        for row in measurement.rows
    ]
    return "\n".join([*lines, *(["", _SIMULATED] if simulated else [])])
