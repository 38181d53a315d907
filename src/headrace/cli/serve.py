"""`headrace serve`: starts the embedded endpoint."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click

from headrace._support.units import parse_rate, parse_share
from headrace.cli.options import COUNT, DURATION, Quantity

if TYPE_CHECKING:
    from headrace.testing.server.certificates import Certificate

_FILE = click.Path(exists=True, dir_okay=False)
_SHARE = Quantity("share", parse_share)


@click.command(short_help="Start an endpoint that simulates a model.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free port."
)
@click.option("--latency", type=DURATION, default=0.0, help="Time until an answer, like 800ms.")
@click.option("--jitter", type=DURATION, default=0.0, help="Random variation of the latency.")
@click.option(
    "--rate-limit",
    type=Quantity("rate", parse_rate),
    help="Calls above it get a 429, like 100/s.",
)
@click.option(
    "--errors",
    type=_SHARE,
    default=0.0,
    help="Share of failing calls, like 5%.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="The same seed gives the same answers.",
)
@click.option("--tls", is_flag=True, help="HTTP/2 and HTTP/1.1 over TLS, with a new certificate.")
@click.option("--certificate", type=_FILE, help="PEM file with your own certificate, for --tls.")
@click.option("--key", type=_FILE, help="PEM file with its key, if that is a separate file.")
@click.option(
    "--batch-time", type=DURATION, default=1.0, help="Time that a batch takes, like 5s; default: 1s."
)
@click.option("--batch-failures", type=_SHARE, default=0.0, help="Share of failing requests in batches.")
@click.option("--batch-expire", type=_SHARE, default=0.0, help="Share of requests that expire in batches.")
@click.option(
    "--batch-max-requests", type=COUNT, default=50_000, show_default=True, help="Limit of its requests."
)
@click.option("--batch-max-bytes", type=COUNT, default=209_715_200, help="Limit of its input file.")
@click.option("--batch-max-tokens", type=COUNT, help="Limit of a model's tokens in unfinished batches.")
@click.option("--quirks", default="", metavar="NAME,…", help="Unusual but real behaviour; see the docs.")
def serve(
    host: str,
    port: int,
    latency: float,
    jitter: float,
    rate_limit: float | None,
    errors: float,
    seed: int,
    tls: bool,
    certificate: str | None,
    key: str | None,
    quirks: str,
    batch_time: float,
    batch_failures: float,
    batch_expire: float,
    batch_max_requests: int,
    batch_max_bytes: int,
    batch_max_tokens: int | None,
) -> None:
    """Start an OpenAI-compatible endpoint that simulates a model, until Ctrl-C.

    It has chat completions (also streamed), embeddings, models, files and batches. Answers are invented;
    token counts are consistent. Faults are 429 with Retry-After, 500, 503 and broken connections.

    \b
    Example:
      headrace serve --port 8000 --latency 800ms --errors 5%
      OPENAI_BASE_URL=http://127.0.0.1:8000/v1 headrace run …
    """
    from headrace.errors import HeadraceError, SettingsError
    from headrace.testing.server.behaviour import Behaviour
    from headrace.testing.server.certificates import Certificate, temporary_certificate
    from headrace.testing.server.server import serve as run_server

    if certificate is not None and not tls:
        raise click.UsageError("--certificate: needs --tls")
    if key is not None and certificate is None:
        raise click.UsageError("--key: needs --certificate")
    try:
        behaviour = Behaviour(
            latency=latency,
            jitter=jitter,
            rate_limit=rate_limit,
            errors=errors,
            seed=seed,
            quirks=tuple(name.strip() for name in quirks.split(",") if name.strip()),
            batch_time=batch_time,
            batch_failures=batch_failures,
            batch_expire=batch_expire,
            batch_max_requests=batch_max_requests,
            batch_max_bytes=batch_max_bytes,
            batch_max_tokens=batch_max_tokens,
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--quirks") from None
    with ExitStack() as stack:
        try:
            certified = None
            if tls:
                certified = (
                    Certificate(certificate, key)
                    if certificate
                    else stack.enter_context(temporary_certificate(host))
                )
            run_server(behaviour, host, port, ready=partial(_announce, certified), certificate=certified)
        except OSError as error:
            raise SettingsError(error.strerror or str(error)) from error
        except ImportError as error:
            raise HeadraceError(str(error)) from error


def _announce(certificate: Certificate | None, url: str) -> None:
    from headrace.testing.server.certificates import TemporaryCertificate

    click.echo(f"Simulated endpoint at {url}")
    if isinstance(certificate, TemporaryCertificate):
        click.echo(
            "Its certificate is new and only for this endpoint. Call it like this:\n"
            f"  SSL_CERT_FILE={certificate.authority} OPENAI_BASE_URL={url} headrace chat Hello --model any"
        )
