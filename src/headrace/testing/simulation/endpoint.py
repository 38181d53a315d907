"""The simulated endpoint: decides the result and the time of each attempt.

An attempt first waits for the round trip: the network delay of both directions. Then these steps follow:

    outage              it is refused, gets a 503, or hangs until the end of the outage and is cut
    key revoked         401
    errors              a status at once; a reset is served like other attempts, but gets no answer
    over a rate limit   429, with the time to wait
    no free server      it waits in the queue; 503 if the queue is full or the wait is too long
    free server         it is served for the service time and gets its answer

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
from headrace.testing.simulation.metrics import MetricsRecorder
from headrace.testing.simulation.responses import answer, error_response, retry_after_headers
from headrace.testing.simulation.scenario import ErrorBurst, Outage, Scenario
from headrace.testing.simulation.service_queue import ServerPool, WaitResult

_MINUTE = 60.0

W = TypeVar("W", Outage, ErrorBurst)


class SimulatedEndpoint:
    """Answers attempts according to the scenario; a `MemoryTransport` calls `handle`."""

    def __init__(self, scenario: Scenario, recorder: MetricsRecorder) -> None:
        endpoint, self._scenario, self._recorder = scenario.endpoint, scenario, recorder
        self._endpoint = endpoint
        self._speed = 1.0
        self._servers = ServerPool(
            scenario.scaled(endpoint.capacity),
            None if endpoint.queue is None else scenario.scaled(endpoint.queue),
            endpoint.queue_timeout,
            self._record_levels,
        )
        self._limits = [
            (what, TokenBucket(limit / scenario.stands_for / _MINUTE, endpoint.burst))
            for what, limit in (
                ("requests", endpoint.requests_per_minute),
                ("tokens", endpoint.tokens_per_minute),
            )
            if limit is not None
        ]
        self._services, self._faults, self._sizes = map(
            scenario.random_stream, ("services", "faults", "sizes")
        )

    async def handle(self, process: int, call: Call) -> Reply:
        """Answer an attempt; raises `ConnectError` or `IncompleteReply` if there is no answer."""
        if self._endpoint.round_trip:
            await trio.sleep(self._endpoint.round_trip)
        now = call.now()
        self._recorder.attempt(process, call.attempts, now)
        outage = _current(self._scenario.outages, now)
        if outage is not None:
            return await self._fail(outage, now)
        revoked = self._endpoint.key_revoked_at
        if revoked is not None and now >= revoked:
            return error_response(401)
        error = self._error(now)
        if error is not None and error != "reset":
            return self._too_many_requests(now, 1.0, {}) if error == "429" else error_response(int(error))
        prompt, completion = (
            max(1, round(sizes.draw(self._sizes)))
            for sizes in (self._endpoint.prompt_tokens, self._endpoint.completion_tokens)
        )
        wait = self._rate_limit_wait(now, prompt + completion)
        limits = dict[str, str]()
        if "limits" in self._endpoint.says:
            for what, bucket in self._limits:
                limits |= bucket.headers(what)
        if wait:
            return self._too_many_requests(now, wait, limits)
        if await self._servers.acquire() is not WaitResult.SERVED:
            return error_response(503)
        try:
            await trio.sleep(self._endpoint.service.draw(self._services) / self._speed)
        finally:
            self._servers.release()
        if error is not None:
            raise IncompleteReply("the connection was reset before the answer was complete")
        return answer(call.request.model or "", prompt, completion, limits)

    async def _fail(self, outage: Outage, now: float) -> Reply:
        if outage.kind == "503":
            return error_response(503)
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

    def _rate_limit_wait(self, now: float, tokens: int) -> float:
        """The seconds until the limits allow the attempt; if 0, the attempt is counted."""
        amounts = {"requests": 1.0, "tokens": float(tokens)}
        wait = max((bucket.wait(now, amounts[what]) for what, bucket in self._limits), default=0.0)
        if not wait:
            for what, bucket in self._limits:
                bucket.take(now, amounts[what])
        return wait

    def _too_many_requests(self, now: float, wait: float, limits: dict[str, str]) -> Reply:
        self._recorder.limited(now)
        retry_after = retry_after_headers(wait) if "retry_after" in self._endpoint.says else {}
        return error_response(429, retry_after | limits)

    async def run_brown_outs(self) -> None:
        """Change capacity and speed when brown-outs begin and end, until the last has ended."""
        brown_outs = self._scenario.brown_outs
        for moment in sorted({time for each in brown_outs for time in (each.from_, each.to)}):
            await trio.sleep_until(moment)
            current = [each for each in brown_outs if each.from_ <= moment < each.to]
            self._speed = math.prod(each.speed for each in current)
            capacity = self._endpoint.capacity * math.prod(each.capacity for each in current)
            self._servers.resize(max(1, self._scenario.scaled(capacity)))

    def _record_levels(self) -> None:
        now = trio.current_time()
        self._recorder.set("queue", self._servers.waiting, now)
        self._recorder.set("busy", self._servers.busy, now)


def _current(windows: Iterable[W], now: float) -> W | None:
    return next((window for window in windows if window.from_ <= now < window.to), None)
