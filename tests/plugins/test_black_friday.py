"""An outage under load: retry, its budget and the breaker.

In virtual time: ten calls per second for half an hour; the endpoint is down from minute 10 to minute 20.
"""

from __future__ import annotations

import random

import attrs
import pytest
import trio
from tests.plugins.outage import Outage

import headrace
from headrace.testing import Answer
from headrace_breaker import Breaker
from headrace_retry import Retry

URL = "http://fake.test/v1"
BEGIN, END, CLOSE = 600.0, 1200.0, 1800.0
EVERY = 0.1
IN_THE_OUTAGE = int((END - BEGIN) / EVERY)


@attrs.define
class Day:
    """The results of the calls, and the events of the policies."""

    name: str = "day"
    endpoint: Outage = attrs.field(factory=lambda: Outage(BEGIN, END))
    began: list[float] = attrs.field(factory=list)
    took: list[float] = attrs.field(factory=list)
    failed: list[tuple[float, str]] = attrs.field(factory=list)
    events: list[tuple[float, headrace.Event]] = attrs.field(factory=list)

    def notify(self, event: headrace.Event) -> None:
        self.events.append((trio.current_time(), event))

    def times(self, name: str, state: str | None = None) -> list[float]:
        """The times of an event."""
        return [
            at for at, event in self.events if event.name == name and state in {None, event.data.get("state")}
        ]

    def attempts_while_down(self) -> int:
        return sum(self.endpoint.is_down(at) for at in self.endpoint.times)

    async def pass_by(self, *policies: headrace.Policy) -> Day:
        async with self.endpoint.client(policies, observers=[self], max_in_flight=10_000) as client:

            async def call() -> None:
                began = trio.current_time()
                try:
                    await client.chat("Is it in stock?")
                except headrace.CallError as error:
                    self.failed.append((began, error.code))
                self.began.append(began)
                self.took.append(trio.current_time() - began)

            async with trio.open_nursery() as nursery:
                for number in range(int(CLOSE / EVERY)):
                    nursery.start_soon(call)
                    await trio.sleep_until((number + 1) * EVERY)
            assert client.in_flight == self.endpoint.in_flight == 0
        return self


@pytest.mark.trio
async def test_outage_of_ten_minutes(autojump_clock: trio.testing.MockClock) -> None:
    retry, breaker = Retry(rng=random.Random(1)), Breaker(down_after=None)
    day = await Day().pass_by(retry, breaker)

    # Every call ends in time: 0.5 s per attempt, and backoffs of at most 0.5 s and 1 s.
    assert len(day.took) == CLOSE / EVERY
    assert max(day.took) < 3.1

    # Until the circuit opens, each call makes an attempt; half of the calls of a minute must fail for that.
    opened = day.times("circuit", "open")
    assert BEGIN < opened[0] < BEGIN + 35
    before_it_opened = (opened[0] - BEGIN) / EVERY
    # After that three probes per minute, and during the whole outage at most the retries of the budget.
    assert len(opened) == 10
    assert day.attempts_while_down() <= before_it_opened + 3 * len(opened) + 500 / 5
    assert day.attempts_while_down() < 0.08 * IN_THE_OUTAGE
    # All other calls of that time are rejected at once.
    refused = [code for began, code in day.failed if began > opened[0] + 3 and code == "circuit_open"]
    assert len(refused) > 0.9 * IN_THE_OUTAGE

    # It recovers within a minute and the probes; after that nothing fails.
    (closed,) = day.times("circuit", "closed")
    assert END <= closed <= END + 60 + 3 * 0.5 + 0.1
    assert min(began for began, _ in day.failed) > BEGIN - 3
    assert max(began for began, _ in day.failed) <= closed
    assert breaker.state(URL) == "closed"
    # One shortage of the retry budget, reported once.
    assert len(day.times("retry_budget")) == 1
    assert retry.quota == 500


@pytest.mark.trio
async def test_dead_endpoint_opens_the_circuit_within_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    retry, breaker = Retry(rng=random.Random(1)), Breaker()
    day = await Day().pass_by(retry, breaker)
    assert BEGIN < day.times("circuit", "open")[0] < BEGIN + 4
    assert day.attempts_while_down() < 0.02 * IN_THE_OUTAGE
    assert day.times("retry_budget") == []
    assert breaker.state(URL) == "closed"


@pytest.mark.trio
async def test_retry_budget_alone_bounds_the_additional_load(
    autojump_clock: trio.testing.MockClock,
) -> None:
    retry = Retry(rng=random.Random(1))
    day = await Day().pass_by(retry)
    assert IN_THE_OUTAGE <= day.attempts_while_down() <= IN_THE_OUTAGE + 500 / 5 + 3
    assert max(began for began, _ in day.failed) < END
    assert retry.quota == 500


@pytest.mark.trio
async def test_hanging_endpoint_opens_the_circuit(autojump_clock: trio.testing.MockClock) -> None:
    class Hanging(Outage):
        """While it is down, it does not answer for ten seconds; then the transport gives up."""

        async def handle(self, call: headrace.Call) -> headrace.Reply:
            if not self.is_down(trio.current_time()):
                return await super().handle(call)
            self.then(Answer(delay=10.0))
            await super(Outage, self).handle(call)
            raise headrace.CallTimeout("no answer within 10 s")

    retry, breaker = Retry(rng=random.Random(1)), Breaker(consecutive=50)
    day = await Day(endpoint=Hanging(BEGIN, END)).pass_by(retry, breaker)
    opened, closed = day.times("circuit", "open")[0], day.times("circuit", "closed")[-1]
    # The first of them fails after ten seconds; until then there are 50 more calls.
    assert opened < BEGIN + 15
    assert day.attempts_while_down() <= (opened - BEGIN) / EVERY + 3 * 10 + 500 / 10
    assert closed <= END + 10 + 60 + 3 * 0.5 + 0.1
    assert max(began for began, _ in day.failed) <= closed
    assert (breaker.state(URL), retry.quota) == ("closed", 500)
