"""Whatever messages a run gets, in whatever order: each item has one line, and no answer is paid twice."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.bulk import Result, Run, run
from headrace.bulk.steps import Step
from headrace.calls import Call
from headrace.errors import CircuitOpen, ControlRefused
from headrace.replies import Reply
from headrace.testing import Answer, FakeEndpoint

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "8"))
ROWS = [{"id": f"P{number}", "name": f"name{number}"} for number in range(8)]
KINDS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "{name}"},
    "steps": {"steps": [Step("first", "first {name}"), Step("second", "second {first}")]},
    "samples": {"prompt": "{name}", "samples": 2},
    "embeddings": {"task": "embed", "column": "name", "batch_size": 3},
}
CALLS = {"prompt": 1, "steps": 2, "samples": 2, "embeddings": 1}

MESSAGE = st.one_of(
    st.sampled_from(["pause", "resume", "retry"]),
    st.lists(st.integers(0, 8), min_size=1, max_size=3, unique=True),
    st.integers(1, 6),
)
"""A word, the numbers of rows to cancel, or a limit."""

MESSAGES = st.lists(st.tuples(st.sampled_from([0, 1, 1, 3, 10]), MESSAGE), max_size=12)
"""Each with the seconds before it."""


class ScriptedEndpoint(FakeEndpoint):
    """Repeats each text; its attempts take some time, and some of them fail.

    Attributes:
        paid: How often each text was answered.
    """

    def __init__(self, statuses: list[int], second: float) -> None:
        super().__init__()
        self._statuses = statuses
        self._second = second
        self.paid: Counter[str] = Counter()

    async def _answer(self, step: object, call: Call) -> Reply:
        body, number = call.request.body or {}, len(self.attempts)
        texts = body["input"] if "input" in body else [body["messages"][-1]["content"]]
        status = self._statuses[number] if number < len(self._statuses) else 200
        delay = self._second * (1 + number % 3)
        if status == 503:
            raise CircuitOpen("the circuit is open", 2 * self._second)
        reply = await super()._answer(Answer(texts[-1], status, delay=delay), call)
        if status == 200:
            self.paid.update(texts)
        return reply


async def send(going: Run, message: Any) -> None:
    """Send a message; one that comes too late is refused."""
    with suppress(ControlRefused):
        match message:
            case "pause":
                going.pause()
            case "resume":
                going.resume()
            case "retry":
                going.retry_failed()
            case int():
                going.set_limit("max-in-flight", message)
            case _:
                await going.cancel([f"P{number}" for number in message])


async def session(
    endpoint: ScriptedEndpoint, place: Any, kind: str, messages: Any, stop: bool, second: float
) -> Result:
    async with endpoint.client(max_in_flight=2) as client:
        going: Run = run(client, ROWS, id_column="id", **place, **KINDS[kind])
        async with going:
            for seconds, message in messages:
                await anyio.sleep(seconds * second)
                await send(going, message)
            if stop:
                going.stop()
            else:
                await send(going, "resume")
            return await going.wait()


def check(result: Result, kind: str, endpoint: ScriptedEndpoint, messages: Any) -> None:
    ids = [line.custom_id for line in result]
    assert len(ids) == len(set(ids)) == result.done
    assert sum(line.error is not None for line in result) == result.failed + result.failed_before
    was_cancelled = any(isinstance(message, list) for _, message in messages)
    if not was_cancelled:
        most = CALLS["samples"] if kind == "samples" else 1
        assert all(number <= most for number in endpoint.paid.values())


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@settings(max_examples=EXAMPLES, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    in_memory=st.booleans(),
    messages=MESSAGES,
    stop=st.booleans(),
    statuses=st.lists(st.sampled_from([200, 200, 422, 422, 500, 503]), max_size=12),
)
@example("prompt", False, [(1, "retry"), (0, "pause"), (3, "retry"), (0, [0, 5])], False, [422, 200, 422])
@example("steps", True, [(3, "retry"), (0, [1]), (1, "retry"), (0, "pause")], True, [200, 200, 422, 422])
def test_each_item_has_one_line_and_no_answer_is_paid_twice(
    backend: str, kind: str, in_memory: bool, messages: Any, stop: bool, statuses: list[int]
) -> None:
    second = 1.0 if backend == "trio" else 0.0005
    options: Any = {"clock": trio.testing.MockClock(autojump_threshold=0)} if backend == "trio" else {}
    endpoint = ScriptedEndpoint(statuses, second)

    async def main(place: Any) -> None:
        result = await session(endpoint, place, kind, messages, stop, second)
        check(result, kind, endpoint, messages)
        if not stop:
            assert (result.done, result.stopped_by) == (len(ROWS), None)
        elif not in_memory:
            result = await session(endpoint, place, kind, [(0, "retry")], False, second)
            check(result, kind, endpoint, messages)
            assert result.done == len(ROWS)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("anyio.to_thread.run_sync", _run_at_once)
        place = {} if in_memory else {"out": Path(folder, "out.jsonl")}
        anyio.run(main, place, backend=backend, backend_options=options)


async def _run_at_once(function: Any, *arguments: Any, **options: Any) -> Any:
    """In place of a thread: while one works, a virtual clock would jump ahead."""
    await anyio.lowlevel.checkpoint()
    return function(*arguments)
