"""The simulated endpoint: the result of an attempt, and when it comes.

    an attempt arrives after the round trip; the delay of both ways comes first
      an outage            it is refused, or gets a 503, or hangs until the end of the outage and is cut
      the key is revoked   401
      errors               a status at once; a reset is served like other attempts, and gets no answer
      the rate limits      429, with the time to wait
      no free server       it waits in the queue; 503 if that is full, or the wait is too long
      a server             serves it for the service time
    then the answer comes

A cancelled attempt leaves the queue or its server at once, as if the server noticed that the connection is
closed. The service time is drawn when a server begins, at its current speed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

import trio

from headrace.calls import Call
from headrace.errors import ConnectError, IncompleteReply
from headrace.replies import Reply
from headrace.testing.server.token_bucket import TokenBucket
from headrace.testing.simulation.metrics import Recorder
from headrace.testing.simulation.responses import answer, asked_to_wait, refusal
from headrace.testing.simulation.scenario import Errors, Outage, Scenario
from headrace.testing.simulation.service_queue import Servers, WaitResult

_MINUTE = 60.0

W = TypeVar("W", Outage, Errors)


class SimulatedEndpoint:
    """Answers attempts as the scenario says; a `MemoryTransport` calls `handle`."""

    def __init__(self, scenario: Scenario, recorder: Recorder) -> None:
        endpoint, self._scenario, self._recorder = scenario.endpoint, scenario, recorder
        self._endpoint = endpoint
        self._speed = 1.0
        self._servers = Servers(
            scenario.divided(endpoint.capacity),
            None if endpoint.queue is None else scenario.divided(endpoint.queue),
            endpoint.queue_timeout,
            self._changed,
        )
        self._limits = [
            (what, TokenBucket(limit / scenario.stands_for / _MINUTE, endpoint.burst))
            for what, limit in (
                ("requests", endpoint.requests_per_minute),
                ("tokens", endpoint.tokens_per_minute),
            )
            if limit is not None
        ]
        self._services, self._faults, self._sizes = map(scenario.chance, ("services", "faults", "sizes"))

    async def handle(self, process: int, call: Call) -> Reply:
        """Make an attempt of a process; raises `ConnectError` or `IncompleteReply` where no answer comes."""
        if self._endpoint.round_trip:
            await trio.sleep(self._endpoint.round_trip)
        now = call.now()
        self._recorder.attempt(process, call.attempts, now)
        outage = _current(self._scenario.outages, now)
        if outage is not None:
            return await self._fail(outage, now)
        revoked = self._endpoint.key_revoked_at
        if revoked is not None and now >= revoked:
            return refusal(401)
        error = self._error(now)
        if error is not None and error != "reset":
            return self._too_many(now, 1.0, {}) if error == "429" else refusal(int(error))
        prompt, completion = (
            max(1, round(sizes.draw(self._sizes)))
            for sizes in (self._endpoint.prompt_tokens, self._endpoint.completion_tokens)
        )
        wait = self._limited(now, prompt + completion)
        limits = dict[str, str]()
        if "limits" in self._endpoint.says:
            for what, bucket in self._limits:
                limits |= bucket.headers(what)
        if wait:
            return self._too_many(now, wait, limits)
        if await self._servers.acquire() is not WaitResult.SERVED:
            return refusal(503)
        try:
            await trio.sleep(self._endpoint.service.draw(self._services) / self._speed)
        finally:
            self._servers.release()
        if error is not None:
            raise IncompleteReply("the connection was reset before the answer was complete")
        return answer(call.request.model or "", prompt, completion, limits)

    async def _fail(self, outage: Outage, now: float) -> Reply:
        if outage.kind == "503":
            return refusal(503)
        if outage.kind == "refused":
            raise ConnectError("the connection was refused")
        await trio.sleep(outage.to - now)
        raise ConnectError("the connection was reset before an answer")

    def _error(self, now: float) -> str | None:
        """The error that an attempt gets now, or None."""
        burst = _current(self._scenario.errors, now)
        if burst is None or self._faults.random() >= burst.share:
            return None
        return self._faults.choice(burst.kinds)

    def _limited(self, now: float, tokens: int) -> float:
        """Seconds until a limit allows the attempt; 0 if it does now, and then it is counted."""
        amounts = {"requests": 1.0, "tokens": float(tokens)}
        wait = max((bucket.wait(now, amounts[what]) for what, bucket in self._limits), default=0.0)
        if not wait:
            for what, bucket in self._limits:
                bucket.take(now, amounts[what])
        return wait

    def _too_many(self, now: float, wait: float, limits: dict[str, str]) -> Reply:
        self._recorder.limited(now)
        asked = asked_to_wait(wait) if "retry_after" in self._endpoint.says else {}
        return refusal(429, asked | limits)

    async def live(self) -> None:
        """Change capacity and speed when brown-outs begin and end, until the last has ended."""
        brown_outs = self._scenario.brown_outs
        for moment in sorted({time for each in brown_outs for time in (each.from_, each.to)}):
            await trio.sleep_until(moment)
            current = [each for each in brown_outs if each.from_ <= moment < each.to]
            self._speed = math.prod(each.speed for each in current)
            capacity = self._endpoint.capacity * math.prod(each.capacity for each in current)
            self._servers.resize(max(1, self._scenario.divided(capacity)))

    def _changed(self) -> None:
        now = trio.current_time()
        self._recorder.set("queue", self._servers.waiting, now)
        self._recorder.set("busy", self._servers.busy, now)


def _current(windows: Iterable[W], now: float) -> W | None:
    return next((window for window in windows if window.from_ <= now < window.to), None)
