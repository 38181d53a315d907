"""A bulk run in several processes: real workers, a real endpoint, and what happens when they die."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anyio
import anyio.lowlevel
import attrs
import pytest

from headrace import (
    BudgetExceeded,
    Client,
    ControlRefused,
    InputError,
    RateLimited,
    SettingsError,
    Step,
    WorkerLost,
)
from headrace.bulk import BulkRun, InputCheck, Journal, ProcessExecutor, Source, Summary, Task, run
from headrace.bulk.executor import WorkItem
from headrace.bulk.template import Template
from headrace.calls import Request
from headrace.testing.server import Behaviour, endpoint_process
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_retry import Retry

pytestmark = pytest.mark.anyio

Lines = Callable[[Path], list[dict[str, Any]]]
Serving: TypeAlias = Callable[..., AbstractAsyncContextManager[functools.partial[Client]]]
ITEMS = 200


@pytest.fixture
def serving() -> Serving:
    """Starts an endpoint with this behaviour, and returns a factory of clients for it."""

    @asynccontextmanager
    async def serve(
        behaviour: Behaviour | None = None, **keywords: Any
    ) -> AsyncIterator[functools.partial[Client]]:
        async with endpoint_process(behaviour) as endpoint:
            usual: dict[str, Any] = {"policies": [], "model": "m", "max_in_flight": 20}
            yield functools.partial(Client, base_url=endpoint.base_url, **usual | keywords)

    return serve


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    path.write_text("id,text\n" + "".join(f"Q{n:03},Frage {n}\n" for n in range(ITEMS)))
    return path


async def ask(make_client: Any, questions: Path, **keywords: Any) -> Summary:
    keywords = {"processes": 2} | keywords
    return await run(
        make_client, questions, prompt="{id}: {text}", out=questions.with_name("out.jsonl"), **keywords
    )


def check_complete(questions: Path, read_lines: Lines) -> None:
    lines = read_lines(questions.with_name("out.jsonl"))
    assert sorted(line["custom_id"] for line in lines) == [f"Q{n:03}" for n in range(ITEMS)]
    for line in lines:
        assert line["error"] is None
        assert line["custom_id"] in line["response"]["body"]["choices"][0]["message"]["content"]


async def test_workers_return_typed_answers(serving: Serving, questions: Path, read_lines: Lines) -> None:
    async with serving() as make_client:
        await ask(make_client, questions, answer=Literal["rot", "blau"])
    lines = read_lines(questions.with_name("out.jsonl"))
    assert len(lines) == ITEMS
    assert {line["headrace"]["answer"] for line in lines} <= {"rot", "blau"}


async def test_workers_perform_steps_with_their_own_choices_and_types(
    serving: Serving, questions: Path, read_lines: Lines
) -> None:
    steps = [
        Step("colour", "{id}: {text}", choices=["rot", "blau"]),
        Step(
            "shade", "Shade of {colour} for {id}?", when="colour == 'rot'", answer=Literal["hell", "dunkel"]
        ),
        Step("remark", "{id}: {shade}"),
    ]
    out = questions.with_name("out.jsonl")
    async with serving() as make_client:
        result = await run(make_client, questions, steps=steps, out=out, processes=2)
    red = sum(line["headrace"]["steps"]["colour"] == "rot" for line in read_lines(out))
    assert 0 < red < ITEMS
    assert [each.done for each in result.steps.values()] == [ITEMS, red, ITEMS]
    for line in read_lines(out):
        answers = line["headrace"]["steps"]
        assert answers["colour"] in {"rot", "blau"}
        assert answers["shade"] in ({"hell", "dunkel"} if answers["colour"] == "rot" else {None})
        assert line["custom_id"] in answers["remark"]


async def test_an_answer_type_that_cannot_be_pickled_is_rejected(questions: Path) -> None:
    @attrs.define
    class Local:
        text: str

    with pytest.raises(SettingsError, match="a class that a module defines as answer="):
        await ask(
            functools.partial(Client, base_url="http://localhost:9/v1", model="m"), questions, answer=Local
        )


def wait_for_lines(path: Path, number: int) -> None:
    """Wait until the output has this number of lines."""
    end = time.monotonic() + 30
    while not path.exists() or path.read_bytes().count(b"\n") < number:
        assert time.monotonic() < end, "the run makes no progress"
        time.sleep(0.005)


def children() -> list[int]:
    """The worker processes of this one."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"headrace.bulk.worker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


async def test_the_output_and_the_summary_are_those_of_one_process(
    serving: Serving, questions: Path, read_lines: Lines
) -> None:
    async with serving() as make_client:
        summary = await ask(make_client, questions)
        assert children() == []
        check_complete(questions, read_lines)
        one = questions.with_name("one.jsonl")
        alone = await run(make_client, questions, prompt="{id}: {text}", out=one)
        again = await ask(make_client, questions)
    assert (summary.succeeded, summary.failed, summary.left) == (ITEMS, 0, 0)
    assert (summary.prompt_tokens, summary.completion_tokens) == (
        alone.prompt_tokens,
        alone.completion_tokens,
    )
    assert summary.latencies.count == ITEMS
    assert (again.done_before, again.succeeded) == (ITEMS, 0)
    answers = [
        {line["custom_id"]: line["response"]["body"]["choices"] for line in read_lines(path)}
        for path in (one, questions.with_name("out.jsonl"))
    ]
    assert answers[0] == answers[1]


async def test_no_more_calls_are_in_flight_than_in_one_process(serving: Serving, questions: Path) -> None:
    async with serving(Behaviour(latency=0.05), max_in_flight=5) as make_client:
        summary = await ask(make_client, questions, processes=3)
        assert summary.succeeded == ITEMS
        assert summary.elapsed >= ITEMS / 5 * 0.05


async def test_a_killed_worker_is_replaced_and_its_items_are_sent_again(
    serving: Serving, questions: Path, read_lines: Lines
) -> None:
    async with serving(Behaviour(latency=0.05), max_in_flight=10) as make_client:
        summary: list[Summary] = []
        out = questions.with_name("out.jsonl")

        async def work() -> None:
            summary.append(await ask(make_client, questions))

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            for number in range(3):
                await anyio.to_thread.run_sync(wait_for_lines, out, 20 + 50 * number)
                os.kill(children()[0], signal.SIGKILL)
    assert summary[0].succeeded == ITEMS
    check_complete(questions, read_lines)


async def test_workers_that_die_at_once_end_the_run(serving: Serving, questions: Path) -> None:
    summary = await ask(functools.partial(dying_client, "http://127.0.0.1:9/v1", os.getpid()), questions)
    assert isinstance(summary.stopped_by, WorkerLost)
    assert "3 worker processes died" in str(summary.stopped_by)
    assert summary.left == ITEMS
    assert children() == []


async def test_a_worker_that_cannot_make_its_client_says_why(questions: Path) -> None:
    with pytest.raises(SettingsError, match="a worker process cannot start: base_url"):
        await ask(functools.partial(fussy_client, os.getpid()), questions)


async def test_a_client_factory_that_cannot_be_pickled_is_rejected(questions: Path) -> None:
    with pytest.raises(SettingsError, match=r"functools\.partial\(headrace\.Client"):
        await ask(lambda: Client(model="m", base_url="http://127.0.0.1:9/v1", policies=[]), questions)
    make_client = functools.partial(Client, base_url="http://127.0.0.1:9/v1", model="m", policies=[])
    with pytest.raises(SettingsError, match="processes=3: must be at least 1, and at most max_in_flight=2"):
        await ask(make_client, questions, processes=3, max_in_flight=2)
    async with Client(base_url="http://127.0.0.1:9/v1", model="m", policies=[]) as client:
        with pytest.raises(SettingsError, match="each process has its own"):
            await ask(client, questions)


async def test_the_budget_is_shared(serving: Serving, questions: Path) -> None:
    prices = {"m": {"input": "1000", "output": "1000"}}
    policies = [Cost(prices=prices, budget="8", assumed_output_tokens=64)]
    async with serving(policies=policies) as make_client:
        summary = await ask(make_client, questions)
    assert isinstance(summary.stopped_by, BudgetExceeded)
    assert 0 < summary.succeeded < ITEMS
    assert summary.cost is not None
    assert 4 < summary.cost <= 8


async def test_an_error_that_all_calls_share_stops_the_run(serving: Serving, questions: Path) -> None:
    async with serving(Behaviour(api_key="sk-right"), api_key="sk-wrong") as make_client:
        summary = await ask(make_client, questions)
    assert type(summary.stopped_by).__name__ == "AuthenticationError"
    assert "sk-" not in str(summary.stopped_by)
    assert summary.done == 0


async def test_failures_are_counted_and_retries_are_reported(serving: Serving, questions: Path) -> None:
    events: list[str] = []
    async with serving(Behaviour(errors=0.3, seed=1), policies=[Retry(attempts=8, base=0.01)]) as make_client:
        settings = make_client().settings
        task = Task(Source(questions), Template("{id}: {text}"), settings.model)
        check = InputCheck(task)
        with Journal(questions.with_name("out.jsonl"), task.fingerprint()) as journal:
            async with ProcessExecutor(
                make_client, 2, 20, on_event=lambda name, data: events.append(name)
            ) as executor:
                summary = await BulkRun(task, journal, check).perform(executor)
    assert summary.done == ITEMS
    assert events.count("retry") >= summary.retries > 0


async def test_the_run_waits_for_an_open_circuit(serving: Serving, questions: Path) -> None:
    policies = [Breaker(failure_rate=0.5, minimum_calls=5, window=10, open_for=0.2, probes=1)]
    async with serving(Behaviour(errors=0.6, seed=3), policies=policies, max_in_flight=4) as make_client:
        summary = await ask(make_client, questions)
    assert summary.done == ITEMS
    assert summary.failed > 0
    assert "circuit_open" not in summary.failures


async def test_cancelling_leaves_no_process(serving: Serving, questions: Path) -> None:
    async with serving(Behaviour(latency=60)) as make_client:
        with anyio.move_on_after(2) as scope:
            await ask(make_client, questions)
        assert scope.cancelled_caught
        assert children() == []


async def test_items_drawn_before_an_input_error_are_finished(serving: Serving) -> None:
    def items() -> Any:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hallo"}]}
        for number in range(5):
            yield WorkItem(number, f"Q{number}", Request(body))
        raise InputError("questions.csv:7: bad")

    async with serving() as make_client, ProcessExecutor(make_client, 2, 4) as executor:
        done: list[int] = []

        with pytest.raises(InputError, match="questions"):
            await executor.work(items(), lambda results: done.extend(result.index for result in results))
        assert sorted(done) == [0, 1, 2, 3, 4]
        assert executor.in_flight == 0


async def test_errors_keep_their_type_between_processes(serving: Serving, questions: Path) -> None:
    async with serving(Behaviour(rate_limit=0.01), max_in_flight=2) as make_client:
        summary = await ask(make_client, questions, wait_for_endpoint=5)
    assert isinstance(summary.stopped_by, RateLimited)
    assert summary.stopped_by.status == 429
    assert summary.failed == 0


def dying_client(base_url: str, sound: int) -> Client:
    """Return a client in the process with this id, and kill any other process."""
    if os.getpid() != sound:
        os.kill(os.getpid(), signal.SIGKILL)
    return Client(base_url=base_url, model="m", policies=[])


def fussy_client(sound: int) -> Client:
    """Return a client in the process with this id, and raise an error in any other."""
    return Client(
        base_url="http://127.0.0.1:9/v1" if os.getpid() == sound else "ftp://x", model="m", policies=[]
    )


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the messages are the same on trio
async def test_a_run_is_changed_while_it_goes_on(
    serving: Serving, questions: Path, read_lines: Lines
) -> None:
    out = questions.with_name("out.jsonl")
    cost = Cost(prices={"m": {"input": 1, "output": 1}}, budget="100")
    async with (
        serving(Behaviour(latency=0.2), max_in_flight=2, policies=[cost]) as make_client,
        run(make_client, questions, prompt="{id}: {text}", out=out, processes=2) as going,
    ):
        with anyio.fail_after(60):
            await anext(going)
            with pytest.raises(ControlRefused, match="at least 2, the number of processes"):
                going.set_limit("max-in-flight", 1)
            going.pause()
            done = await going.cancel(["Q199", "Q000"])
            assert "Q199" in done.cancelled
            going.set_limit("max-in-flight", 40)
            going.set_limit("budget", 50)
            assert going.snapshot().limits == {"max-in-flight": 40, "budget": "50"}
            going.resume()
            most = 0
            async for _ in going:
                most = max(most, going.snapshot().in_flight)
            result = await going.wait()
    assert 20 < most <= 40
    assert result.done == ITEMS
    failed = [line for line in read_lines(out) if line["error"]]
    assert {line["error"]["code"] for line in failed} == {"cancelled"}
    assert "Q199" in [line["custom_id"] for line in failed]
