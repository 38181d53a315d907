"""Random 429s and 429s of a rate limit: how many calls per second succeed, and how many attempts get a 429?

    python benchmarks/random_429s.py [--seconds 60] [--burst 10] [--seed 1]
        [--only sockets|simulation] [--match TEXT]

50 calls in flight of 0.3 s each, with `Retry` alone, with all policies of headrace[standard], and with these
and headrace-adaptive. Each setup runs for --seconds against the simulated endpoint in virtual time, and over
sockets against an endpoint on the loopback. A random 429 has `Retry-After: 1`. --burst is the burst size of
a limit, as seconds' worth of it.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from headrace import Client
from headrace.testing.server.token_bucket import TokenBucket
from headrace.testing.simulation import (
    BulkLoad,
    EndpointModel,
    ErrorBurst,
    Lognormal,
    Scenario,
    Variant,
    simulate,
)
from headrace_retry import Retry

IN_FLIGHT, MEAN, P95 = 50, 0.3, 0.6
SHARES = (0.01, 0.1, 0.3)
LIMITS = (600, 6000)
HEADERS_SENT = (("limits", "retry_after"), ("limits",), ("retry_after",), ())
ALONE = "Retry alone"
SETUPS: dict[str, dict[str, Any]] = {
    ALONE: {"policies": ["retry"]},
    "all standard policies": {},
    "with adaptive": {"adaptive": {"start": IN_FLIGHT}},
}
_BODY = (
    b'{"id":"c","object":"chat.completion","created":0,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,'
    b'"completion_tokens":5,"total_tokens":15}}'
)
_REFUSAL = b'{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}'


@attrs.define
class EndpointWith429s:
    """An endpoint over sockets that answers 429 at random, or above a limit per minute."""

    share: float = 0.0
    limit: int | None = None
    says: tuple[str, ...] = HEADERS_SENT[0]
    burst: float = 10.0
    seed: int = 1
    mean: float = MEAN
    attempts: int = 0
    refused: int = 0
    _bucket: TokenBucket | None = attrs.field(init=False)
    _rng: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._bucket = None if self.limit is None else TokenBucket(self.limit / 60, self.burst)
        self._rng = random.Random(self.seed)

    @asynccontextmanager
    async def run_server(self) -> Any:
        """Serve on a free port; yields the base URL."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, self._serve)
            yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1"
            group.cancel_scope.cancel()

    async def _serve(self, stream: SocketStream) -> None:
        async with stream:
            buffered = BufferedByteReceiveStream(stream)
            try:
                while True:
                    head = await buffered.receive_until(b"\r\n\r\n", 65536)
                    length = next(
                        int(line[15:])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    )
                    await buffered.receive_exactly(length)
                    await stream.send(await self._answer())
            except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                pass

    async def _answer(self) -> bytes:
        self.attempts += 1
        wait, headers = 0.0, dict[str, str]()
        if self._rng.random() < self.share:
            wait = 1.0
        elif self._bucket is not None:
            wait = self._bucket.take(anyio.current_time())
            if "limits" in self.says:
                headers |= self._bucket.headers()
        if not wait:
            spread = math.sqrt(2 * math.log(1.2))
            await anyio.sleep(self.mean * self._rng.lognormvariate(-(spread**2) / 2, spread))
            return _http("200 OK", headers, _BODY)
        self.refused += 1
        if "retry_after" in self.says:
            headers["retry-after"] = str(math.ceil(wait))
        return _http("429 Too Many Requests", headers, _REFUSAL)


def _http(status: str, headers: dict[str, str], body: bytes) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    ).encode() + body


async def over_sockets(
    endpoint: EndpointWith429s, setup: str, seconds: float, in_flight: int = IN_FLIGHT
) -> float:
    """Make calls over sockets for ``seconds``; return the number of successful calls per second."""
    answered = 0

    def count(outcome: Any) -> None:
        nonlocal answered
        answered += outcome.ok

    settings: dict[str, Any] = {} if setup == ALONE else SETUPS[setup]
    policies = [Retry()] if setup == ALONE else None
    async with (
        endpoint.run_server() as base_url,
        Client(
            base_url=base_url, model="m", api_key="k", max_in_flight=in_flight, policies=policies, **settings
        ) as client,
    ):
        with anyio.move_on_after(seconds):
            await client.map(itertools.repeat("Hello")).each(count)
    return answered / seconds


def scenario(endpoint: EndpointWith429s, setup: str, seconds: float) -> Scenario:
    """The same as a scenario for the simulation."""
    errors = (ErrorBurst(to=seconds + 3600, share=endpoint.share, kinds=("429",)),) if endpoint.share else ()
    return Scenario(
        seed=endpoint.seed,
        duration=seconds,
        load=BulkLoad(items=10**7),
        endpoint=EndpointModel(
            capacity=10**6,
            service=Lognormal(MEAN, P95),
            round_trip=0.02,
            requests_per_minute=endpoint.limit,
            burst=endpoint.burst,
            says=endpoint.says,
        ),
        errors=errors,
        variants=(Variant(setup, SETUPS[setup] | {"max_in_flight": IN_FLIGHT}),),
    )


def _cases() -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    for share in SHARES:
        yield f"{share:.0%} at random", {"share": share}, tuple(SETUPS)
    for limit, says in itertools.product(LIMITS, HEADERS_SENT):
        what = " and ".join(says) or "nothing"
        yield f"{limit:,} a minute, says {what}", {"limit": limit, "says": says}, tuple(SETUPS)[1:]


def main() -> None:
    """Print a line for each case and setup."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("sockets", "simulation"))
    parser.add_argument("--burst", type=float, default=10.0)
    parser.add_argument("--match", default="", help="only cases with this text in their title")
    args = parser.parse_args()
    for where in ("simulation", "sockets"):
        if args.only not in (None, where):
            continue
        for title, behaviour, setups in _cases():
            if args.match not in title:
                continue
            alone = 0.0
            for setup in setups:
                endpoint = EndpointWith429s(**behaviour, burst=args.burst, seed=args.seed)
                if where == "sockets":
                    rate = anyio.run(over_sockets, endpoint, setup, args.seconds)
                    attempts, refused = endpoint.attempts, endpoint.refused
                else:
                    total = simulate(scenario(endpoint, setup, args.seconds)).runs[0].total
                    rate, attempts, refused = total.served / args.seconds, total.attempts, total.limited
                alone = alone or rate
                ratio = f"{rate / alone:.2f} ×" if "random" in title else ""
                share = refused / max(1, attempts)
                print(
                    f"{where:10} | {title:42} | {setup:21} | {rate:6.1f}/s {ratio:6} | refused {share:6.2%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
