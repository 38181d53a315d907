"""A simulated endpoint with rate limits, for tests in virtual time."""

from __future__ import annotations

import random
from typing import Literal

import anyio
import attrs

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace.wire.request_bodies import max_output_tokens

Kind = Literal["bucket", "window"]


@attrs.define
class Meter:
    """The server's side of a limit: ``limit`` per ``period`` seconds, as a token bucket or a fixed window."""

    limit: float
    period: float = 60.0
    kind: Kind = "bucket"
    _left: float = attrs.field(init=False)
    _at: float = 0.0

    def __attrs_post_init__(self) -> None:
        self._left = self.limit

    def left(self, now: float) -> float:
        if self.kind == "bucket":
            self._left = min(self.limit, self._left + (now - self._at) * self.limit / self.period)
        elif now // self.period > self._at // self.period:
            self._left = self.limit
        self._at = now
        return self._left

    def take(self, amount: float) -> None:
        self._left -= amount

    def reset(self, now: float) -> float:
        if self.kind == "bucket":
            return (self.limit - self._left) * self.period / self.limit
        return self.period - now % self.period

    def headers(self, name: str, now: float) -> dict[str, str]:
        return {
            f"x-ratelimit-limit-{name}": f"{self.limit:.0f}",
            f"x-ratelimit-remaining-{name}": str(int(max(0.0, self._left))),
            f"x-ratelimit-reset-{name}": f"{self.reset(now) * 1000:.0f}ms",
        }


@attrs.define
class LimitedEndpoint(FakeEndpoint):
    """Counts what a call may need when it accepts it, as OpenAI does, and answers after ``latency`` seconds.

    A 429 costs nothing. With ``send_headers`` it reports its limits. With ``send_retry_after`` it asks to
    retry when enough is available. Other clients of the account make ``others`` requests per second.
    """

    requests: Meter | None = None
    tokens: Meter | None = None
    latency: float = 1.0
    send_headers: bool = True
    send_retry_after: bool = True
    others: float = 0.0
    answer_tokens: int = 100
    accepted: list[float] = attrs.field(factory=list, init=False)
    rejected: list[float] = attrs.field(factory=list, init=False)
    used: int = attrs.field(default=0, init=False)
    _others_at: float = attrs.field(default=0.0, init=False)
    _rng: random.Random = attrs.field(factory=lambda: random.Random(7), init=False)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    async def handle(self, call: headrace.Call) -> headrace.Reply:
        now = anyio.current_time()
        prompt = len(call.content) // 4
        needed = prompt + (max_output_tokens(call.request.body or {}, 16) or 0)
        wait, headers = 0.0, dict[str, str]()
        for meter, amount in ((self.requests, 1.0), (self.tokens, float(needed))):
            if meter is not None:
                if meter is self.requests:
                    taken = min(meter.left(now), (now - self._others_at) * self.others)
                    meter.take(taken)
                short = amount - meter.left(now)
                if short > 1e-9:
                    again = short * meter.period / meter.limit if meter.kind == "bucket" else meter.reset(now)
                    wait = max(wait, again)
        self._others_at = now
        for name, meter, amount in (("requests", self.requests, 1), ("tokens", self.tokens, needed)):
            if meter is not None:
                if not wait:
                    meter.take(amount)
                if self.send_headers:
                    headers |= meter.headers(name, now)
        if wait:
            self.rejected.append(now)
            if self.send_retry_after:
                headers["retry-after-ms"] = f"{wait * 1000:.3f}"
            self.then(Answer(status=429, headers=headers))
        else:
            self.accepted.append(now)
            self.used += needed
            latency = self.latency * self._rng.uniform(0.5, 1.5)
            self.then(
                Answer(
                    headers=headers, prompt_tokens=prompt, completion_tokens=self.answer_tokens, delay=latency
                )
            )
        return await super().handle(call)
