"""`headrace serve`: the embedded endpoint."""

from __future__ import annotations

import click

from headrace.cli.options import DURATION, Quantity
from headrace.endpoint.behaviour import Behaviour
from headrace.endpoint.units import parse_rate, parse_share


@click.command(short_help="Start an endpoint that simulates a model.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free.")
@click.option("--latency", type=DURATION, default=0.0, help="Time an answer takes, like 800ms.")
@click.option("--jitter", type=DURATION, default=0.0, help="By how much that varies, like 200ms.")
@click.option("--rate-limit", type=Quantity("rate", parse_rate), help="429 over it, like 100/s.")
@click.option("--errors", type=Quantity("share", parse_share), default=0.0, help="Share of faults, like 5%.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same answers.")
@click.option("--quirks", default="", metavar="NAME,…", help="Odd but real ways to answer; see the docs.")
def serve(
    host: str,
    port: int,
    latency: float,
    jitter: float,
    rate_limit: float | None,
    errors: float,
    seed: int,
    quirks: str,
) -> None:
    """Start an OpenAI-compatible endpoint that simulates a model, until Ctrl-C.

    It has chat completions (streaming too), embeddings and models. Its answers are made up, the same for
    the same seed; its token counts add up. Faults are 429 with Retry-After, 500, 503 and connections cut.

    \b
    Example:
      headrace serve --port 8000 --latency 800ms --errors 5%
      OPENAI_BASE_URL=http://127.0.0.1:8000/v1 headrace run …
    """
    from headrace.endpoint.server import serve as run_server

    try:
        behaviour = Behaviour(
            latency=latency,
            jitter=jitter,
            rate_limit=rate_limit,
            errors=errors,
            seed=seed,
            quirks=tuple(name.strip() for name in quirks.split(",") if name.strip()),
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--quirks") from None
    try:
        run_server(behaviour, host, port, ready=lambda url: click.echo(f"Simulated endpoint at {url}"))
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from error
