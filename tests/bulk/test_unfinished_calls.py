"""A stop waits for the calls in flight and names what hangs; calls that hang in a policy are dropped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio.testing

import headrace
from headrace.bulk import BulkRun, InputCheck, Journal, LocalExecutor, Source, Summary, Task
from headrace.bulk.template import Template
from headrace.bulk.unfinished_calls import UnfinishedCalls, unfinished_calls
from headrace.policies import Policy, Send, Stage
from headrace.testing import Answer, FakeEndpoint
from headrace_adaptive import Adaptive
from headrace_breaker import Breaker
from headrace_hedge import Hedge
from headrace_pace import Pace
from headrace_retry import Retry

Lines = Callable[[Path], list[dict[str, Any]]]
URL = "http://fake.test/v1"


class Audit:
    """A policy that lets only some calls pass; the others wait forever."""

    name = "audit"

    def __init__(
        self, wait: Callable[[headrace.Call], Awaitable[None]], stage: Stage = Stage.PROTECT
    ) -> None:
        self._wait = wait
        self.stage = stage
        self.passing = 0

    def wrap(self, send: Send) -> Send:
        async def audit(call: headrace.Call) -> headrace.Reply:
            if self.passing:
                self.passing -= 1
            else:
                await self._wait(call)
            return await send(call)

        return audit


async def wait(call: headrace.Call) -> None:
    await anyio.Event().wait()


async def wait_without_token(call: headrace.Call) -> None:
    async with call.waiting():
        await anyio.Event().wait()


async def wait_in_a_thing_of_its_own(call: headrace.Call) -> None:
    class Lookup:
        def __await__(self) -> Any:
            return anyio.Event().wait().__await__()

    await Lookup()


async def wait_for_a_child(call: headrace.Call) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(wait, call)


STANDARD = [Adaptive, Breaker, Hedge, Pace, Retry]


@pytest.mark.anyio
@pytest.mark.parametrize("policies", [[], STANDARD], ids=["alone", "among others"])
@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize(
    "how",
    [wait, wait_without_token, wait_in_a_thing_of_its_own, wait_for_a_child],
    ids=lambda how: how.__name__,
)
async def test_a_policy_that_hangs_is_named(
    how: Callable[[headrace.Call], Awaitable[None]], stage: Stage, policies: Sequence[Callable[[], Policy]]
) -> None:
    audit = Audit(how, stage)
    everyone = [audit, *(make() for make in policies)]
    async with FakeEndpoint().client(everyone, max_in_flight=2) as client, client.map(["?"] * 5):
        await anyio.wait_all_tasks_blocked()
        assert unfinished_calls(client) == UnfinishedCalls(("audit",), ())


@pytest.mark.anyio
@pytest.mark.parametrize("policies", [[], STANDARD], ids=["alone", "among others"])
async def test_a_missing_answer_names_the_endpoint(
    policies: Sequence[Callable[[], Policy]],
) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=3600))
    async with endpoint.client([make() for make in policies], max_in_flight=2) as client:
        async with client.map(["?"] * 5):
            await anyio.wait_all_tasks_blocked()
            assert unfinished_calls(client) == UnfinishedCalls((), (client.endpoints[0].base_url,))
        async with FakeEndpoint().client() as other:
            assert unfinished_calls(other) == UnfinishedCalls((), ())


async def stopped_run(
    products: Path, endpoint: FakeEndpoint, policies: list[Policy]
) -> tuple[Summary, list[str], float]:
    """Stop a run after a second; return its summary, its messages, and how long it took to stop."""
    # The journal is synced in a thread, for which a virtual clock would not wait.
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    clock.autojump_threshold = 0.1
    task, messages = Task(Source(products), Template("{name}"), "m"), list[str]()
    with Journal(products.with_name("out.jsonl"), task.fingerprint()) as journal:
        check = InputCheck(task)
        check.finish()
        check.compare(journal)
        bulk = BulkRun(task, journal, check, notify=messages.append)

        async def stop() -> None:
            await anyio.sleep(1)
            bulk.stop()

        async with endpoint.client(policies, max_in_flight=4) as client, anyio.create_task_group() as group:
            group.start_soon(stop)
            began = anyio.current_time()
            summary = await bulk.perform(LocalExecutor(client))
    return summary, messages, anyio.current_time() - began - 1


@pytest.mark.trio
async def test_30_s_after_a_stop_calls_that_hang_in_a_policy_are_dropped(
    products: Path, read_lines: Lines, autojump_clock: trio.testing.MockClock
) -> None:
    audit = Audit(wait)
    audit.passing = 3
    summary, messages, seconds = await stopped_run(products, FakeEndpoint(), [audit])
    assert messages == [
        "Dropping the calls in flight: 30 s after the stop, policy 'audit' still holds them. "
        "Their items are left unsent."
    ]
    assert seconds == pytest.approx(30, abs=1)
    assert (summary.succeeded, summary.failed, summary.left, summary.stopped_by) == (3, 0, 7, "interrupt")
    assert len(read_lines(products.with_name("out.jsonl"))) == 3
    endpoint = FakeEndpoint()
    again, _, _ = await stopped_run(products, endpoint, [])
    assert (again.done_before, again.succeeded) == (3, 7)


@pytest.mark.trio
async def test_a_stop_names_a_slow_endpoint_and_waits_for_it(
    products: Path, read_lines: Lines, autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=49.5))
    summary, messages, seconds = await stopped_run(products, endpoint, [])
    assert messages == [
        f"Still waiting for answers from {URL}, at most for the timeout of the calls. "
        "Ctrl-C again drops them."
    ]
    assert seconds == pytest.approx(49, abs=1)
    assert (summary.succeeded, summary.left) == (4, 6)


@pytest.mark.trio
async def test_calls_that_hang_are_dropped_after_the_endpoint_has_answered_the_others(
    products: Path, read_lines: Lines, autojump_clock: trio.testing.MockClock
) -> None:
    audit = Audit(wait)
    audit.passing = 2
    summary, messages, seconds = await stopped_run(
        products, FakeEndpoint(otherwise=Answer(delay=49.5)), [audit]
    )
    assert [line.split(":")[0].split(" http")[0] for line in messages] == [
        "Still waiting for answers from",
        "Dropping the calls in flight",
    ]
    assert seconds == pytest.approx(50, abs=2)
    assert (summary.succeeded, summary.left) == (2, 8)


@pytest.mark.trio
async def test_a_quick_stop_prints_nothing(products: Path, autojump_clock: trio.testing.MockClock) -> None:
    summary, messages, seconds = await stopped_run(products, FakeEndpoint(otherwise=Answer(delay=20)), [])
    assert messages == []
    assert summary.succeeded == 4
    assert seconds == pytest.approx(19, abs=1)
