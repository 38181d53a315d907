"""Options of `python -m headrace.testing.server`: the parent process writes them, the child reads them."""

import argparse
from collections.abc import Callable, Mapping, Sequence

import attrs

from headrace._support.units import parse_duration, parse_rate, parse_share
from headrace.testing.server.behaviour import FAULT_KINDS, Behaviour
from headrace.testing.server.certificates import Certificate

API_KEY_VARIABLE = "SIMULATED_API_KEY"
"""Environment variable with the required API key; not an argument, because other users can see arguments."""


@attrs.frozen
class Arguments:
    """The parsed command line."""

    behaviour: Behaviour
    host: str
    port: int
    certificate: Certificate | None
    until_stdin_closes: bool


def format_arguments(behaviour: Behaviour, certificate: Certificate | None = None) -> list[str]:
    """The options for a child with this behaviour, without its API key, and with this certificate."""
    options = {
        "--latency": behaviour.latency,
        "--jitter": behaviour.jitter,
        "--rate-limit": behaviour.rate_limit,
        "--errors": behaviour.errors,
        "--faults": ",".join(behaviour.faults),
        "--stall": behaviour.stall,
        "--seed": behaviour.seed,
        "--quirks": ",".join(behaviour.quirks) or None,
        "--batch-time": behaviour.batch_time,
        "--batch-failures": behaviour.batch_failures,
        "--batch-expire": behaviour.batch_expire,
        "--batch-max-requests": behaviour.batch_max_requests,
        "--batch-max-bytes": behaviour.batch_max_bytes,
        "--batch-max-tokens": behaviour.batch_max_tokens,
        "--batch-listing-delay": behaviour.batch_listing_delay,
        "--certificate": certificate and certificate.chain,
        "--key": certificate and certificate.key,
    }
    # In the form --name=value, so that a negative seed is not read as an option.
    return [f"{name}={value}" for name, value in options.items() if value is not None]


def parse_arguments(arguments: Sequence[str], environment: Mapping[str, str]) -> Arguments:
    """Read the options, and the API key from the environment. Exits with a message if an option is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m headrace.testing.server",
        description="A simulated OpenAI-compatible endpoint. It understands nothing.",
        epilog=f"If the environment variable {API_KEY_VARIABLE} is set, requests must have this API key.",
    )
    default = Behaviour()
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one (%(default)s)")
    parser.add_argument("--latency", type=_reader(parse_duration), default=0.0, help="such as 800ms")
    parser.add_argument("--jitter", type=_reader(parse_duration), default=0.0, help="such as 100ms")
    parser.add_argument("--rate-limit", type=_reader(parse_rate), help="such as 100/s (no limit)")
    parser.add_argument("--errors", type=_reader(parse_share), default=0.0, help="such as 5%%")
    parser.add_argument("--faults", default=",".join(default.faults), help=f"of {','.join(FAULT_KINDS)}")
    parser.add_argument("--stall", type=_reader(parse_duration), default=default.stall, help="such as 30s")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--quirks", default="", help="names of unusual answers, separated by commas")
    _add_batch_options(parser, default)
    parser.add_argument("--certificate", help="PEM file; with it, TLS with HTTP/2 and HTTP/1.1")
    parser.add_argument("--key", help="PEM file of its key, if the key is in another file")
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="stop when standard input closes, for example because the parent process ended",
    )
    read = parser.parse_args(arguments)
    try:
        behaviour = Behaviour(
            latency=read.latency,
            jitter=read.jitter,
            rate_limit=read.rate_limit,
            errors=read.errors,
            faults=tuple(kind.strip() for kind in read.faults.split(",")),
            stall=read.stall,
            seed=read.seed,
            quirks=tuple(name.strip() for name in read.quirks.split(",") if name.strip()),
            api_key=environment.get(API_KEY_VARIABLE),
            batch_time=read.batch_time,
            batch_failures=read.batch_failures,
            batch_expire=read.batch_expire,
            batch_max_requests=read.batch_max_requests,
            batch_max_bytes=read.batch_max_bytes,
            batch_max_tokens=read.batch_max_tokens,
            batch_listing_delay=read.batch_listing_delay,
        )
    except ValueError as error:
        parser.error(str(error))
    if read.key and not read.certificate:
        parser.error("--key needs --certificate")
    certificate = Certificate(read.certificate, read.key) if read.certificate else None
    return Arguments(behaviour, read.host, read.port, certificate, read.until_stdin_closes)


def _add_batch_options(parser: argparse.ArgumentParser, default: Behaviour) -> None:
    duration, share = _reader(parse_duration), _reader(parse_share)
    add = parser.add_argument
    add("--batch-time", type=duration, default=default.batch_time, help="time that a batch takes, such as 5s")
    add("--batch-failures", type=share, default=0.0, help="share of failing requests in batches, such as 2%%")
    add("--batch-expire", type=share, default=0.0, help="share of requests that expire, such as 1%%")
    add("--batch-max-requests", type=int, default=default.batch_max_requests, help="limit of a batch")
    add("--batch-max-bytes", type=int, default=default.batch_max_bytes, help="limit of its input file")
    add("--batch-max-tokens", type=int, help="limit of the enqueued tokens of a model (no limit)")
    add("--batch-listing-delay", type=duration, default=0.0, help="time until a list has a new file or batch")


def _reader(parse: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            return parse(text)
        except ValueError as error:
            # argparse shows the message of an ArgumentTypeError, but not of a ValueError.
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
