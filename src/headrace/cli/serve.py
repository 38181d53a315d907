"""`headrace serve`: the embedded endpoint."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import click

from headrace._support.units import parse_rate, parse_share
from headrace.cli.options import DURATION, Quantity
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.certificates import Certificate, TemporaryCertificate, temporary_certificate

_FILE = click.Path(exists=True, dir_okay=False)


@click.command(short_help="Start an endpoint that simulates a model.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free.")
@click.option("--latency", type=DURATION, default=0.0, help="Time an answer takes, like 800ms.")
@click.option("--jitter", type=DURATION, default=0.0, help="By how much that varies, like 200ms.")
@click.option("--rate-limit", type=Quantity("rate", parse_rate), help="429 over it, like 100/s.")
@click.option("--errors", type=Quantity("share", parse_share), default=0.0, help="Share of faults, like 5%.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same answers.")
@click.option("--tls", is_flag=True, help="HTTP/2 and HTTP/1.1 over TLS, with a certificate made for it.")
@click.option("--certificate", type=_FILE, help="PEM file, for --tls with a certificate of your own.")
@click.option("--key", type=_FILE, help="PEM file of its key, where that is in another file.")
@click.option("--quirks", default="", metavar="NAME,…", help="Odd but real ways to answer; see the docs.")
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
) -> None:
    """Start an OpenAI-compatible endpoint that simulates a model, until Ctrl-C.

    It has chat completions (streaming too), embeddings and models. Its answers are made up, the same for
    the same seed; its token counts add up. Faults are 429 with Retry-After, 500, 503 and connections cut.

    \b
    Example:
      headrace serve --port 8000 --latency 800ms --errors 5%
      OPENAI_BASE_URL=http://127.0.0.1:8000/v1 headrace run …
    """
    from headrace.testing.server.server import serve as run_server

    if certificate is not None and not tls:
        raise click.UsageError("--certificate is for --tls")
    if key is not None and certificate is None:
        raise click.UsageError("--key is the key of a --certificate")
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
            raise click.ClickException(error.strerror or str(error)) from error
        except ImportError as error:
            raise click.ClickException(str(error)) from error


def _announce(certificate: Certificate | None, url: str) -> None:
    click.echo(f"Simulated endpoint at {url}")
    if isinstance(certificate, TemporaryCertificate):
        click.echo(
            "Its certificate is made for this run; call it like this:\n"
            f"  SSL_CERT_FILE={certificate.authority} OPENAI_BASE_URL={url} headrace chat Hello --model any"
        )
