"""Failed items are sent again while a run goes on, in each kind of run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.bulk.control.held_endpoint import HeldEndpoint, until

from headrace.bulk import Run, run
from headrace.bulk.steps import Step
from headrace.calls import Call
from headrace.errors import ControlRefused
from headrace.replies import Reply
from headrace.testing import Answer

pytestmark = pytest.mark.anyio

ROWS = [{"id": f"P{number}", "name": f"name {number}"} for number in range(10)]
STEPS = [
    Step("first", "first {name}"),
    Step("never", "never {name}", when="first == 'x'"),
    Step("second", "second {first}"),
    Step("third", "third {second}"),
]
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "prompt": ({"prompt": "{name}"}, "{}"),
    "steps": ({"steps": STEPS}, "second first {}"),
    "samples": ({"prompt": "{name}", "samples": 3}, "{}"),
    "embeddings": ({"task": "embed", "column": "name", "batch_size": 1}, "{}"),
}
"""The arguments of each kind of run, and the text of a call that fails for a name."""


class FailingEndpoint(HeldEndpoint):
    """Repeats texts, and fails some of them.

    Attributes:
        stuck: The name whose calls are held, whether or not others are; None for no name.
        held_from: The number of attempts after which calls are held; None for no number.
        failing: The texts for which it answers with a status, in order.
        answered: How often it has answered each text.
    """

    def __init__(self, *, held: bool = False) -> None:
        super().__init__(held=held)
        self.stuck: str | None = None
        self.held_from: int | None = None
        self.failing: dict[str, list[int]] = {}
        self.answered: Counter[str] = Counter()

    async def _answer(self, step: object, call: Call) -> Reply:
        body = call.request.body or {}
        text: str = body["input"][0] if "input" in body else body["messages"][-1]["content"]
        if (self.stuck is not None and self.stuck in text) or (
            self.held_from is not None and len(self.attempts) > self.held_from
        ):
            await self._changed.wait()
        statuses = self.failing.get(text, [])
        status = statuses.pop(0) if statuses else 200
        reply = await super()._answer(Answer(text, status), call)
        self.answered[text] += 1
        return reply


def make_failing(endpoint: FailingEndpoint, kind: str, *numbers: int) -> list[str]:
    """Let a call of each of these rows fail: of steps and samples, the second of three."""
    texts = [KINDS[kind][1].format(f"name {number}") for number in numbers]
    for text in texts:
        endpoint.failing[text] = [200, 422] if kind == "samples" else [422]
    return texts


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_only_what_has_failed_is_sent_again(kind: str, in_memory: bool, tmp_path: Path) -> None:
    endpoint = FailingEndpoint()
    endpoint.stuck = "name 9"
    failing = make_failing(endpoint, kind, 2, 3, 7)
    place: Any = {} if in_memory else {"out": tmp_path / "out.jsonl"}
    async with endpoint.client(max_in_flight=2) as client:
        going: Run = run(client, ROWS, id_column="id", **place, **KINDS[kind][0])
        async with going:
            await until(lambda: going.snapshot().done == 9)
            assert going.snapshot().failed == 3
            going.retry_failed()
            endpoint.stuck = None
            endpoint.release()
            seen = Counter([line.custom_id async for line in going])
            result = await going.wait()
    assert (result.succeeded, result.failed, result.left, result.failures) == (10, 0, 0, {})
    assert seen == {row["id"]: 1 + (row["id"] in {"P2", "P3", "P7"}) for row in ROWS}
    assert [line.custom_id for line in result] == [row["id"] for row in ROWS]
    assert not any(line.error for line in result)
    if kind == "samples":
        assert all(len(line.answers or ()) == 3 for line in result)
        assert endpoint.answered == {row["name"]: 4 if row["name"] in failing else 3 for row in ROWS}
        assert result.samples is not None
        assert (result.samples.answers, result.samples.reused) == (30, 3)
    else:
        again = dict.fromkeys(failing, 2)
        assert {text: number for text, number in endpoint.answered.items() if number > 1} == again
    if kind == "steps":
        assert {name: str(counts) for name, counts in result.steps.items()} == {
            "first": "10 done, 3 reused",
            "never": "0 done, 10 skipped",
            "second": "10 done",
            "third": "10 done",
        }
        assert endpoint.answered.total() == 33


@pytest.mark.parametrize("kind", KINDS)
async def test_items_that_failed_in_an_earlier_session_are_sent_again(kind: str, tmp_path: Path) -> None:
    endpoint, out = FailingEndpoint(), tmp_path / "out.jsonl"
    make_failing(endpoint, kind, 0, 4, 8)
    async with endpoint.client(max_in_flight=2) as client:
        arguments: Any = {"id_column": "id", "out": out, **KINDS[kind][0]}
        assert (await run(client, ROWS[:9], **arguments)).failed == 3
        number = endpoint.answered.total()
        make_failing(endpoint, kind, 9)
        endpoint.held = True
        going: Run = run(client, ROWS, **arguments)
        async with going:
            await until(lambda: endpoint.in_flight == 1)
            going.retry_failed()
            going.retry_failed()
            endpoint.release()
            result = await going.wait()
    # With one call for each row, P9 has failed before the calls in flight were finished.
    failed = kind in {"steps", "samples"}
    assert (result.done_before, result.succeeded, result.failed, result.left) == (6, 4 - failed, failed, 0)
    assert Counter(line.custom_id for line in result) == {row["id"]: 1 for row in ROWS}
    expected = {"prompt": 5, "steps": 8, "samples": 8, "embeddings": 5}
    assert endpoint.answered.total() - number == expected[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_failed_items_are_sent_again_until_they_succeed(kind: str) -> None:
    endpoint = FailingEndpoint()
    endpoint.stuck = "last"
    texts = make_failing(endpoint, kind, *range(10))
    for text in texts:
        endpoint.failing[text] = [422] * 6
    async with endpoint.client(max_in_flight=4) as client:
        going: Run = run(client, [*ROWS, {"id": "last", "name": "last"}], id_column="id", **KINDS[kind][0])
        async with going:
            for _ in range(3):
                await until(lambda: going.snapshot().failed == 10 and endpoint.in_flight == 1)
                going.retry_failed()
                endpoint.release()
            await until(lambda: going.snapshot().failed == 10 and endpoint.in_flight <= 1)
            endpoint.stuck = None
            endpoint.release()
            result = await going.wait()
    assert result.done == 11
    assert Counter(line.custom_id for line in result).total() == 11


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stop_after_failed_items_were_removed_loses_nothing(
    kind: str, in_memory: bool, tmp_path: Path
) -> None:
    endpoint = FailingEndpoint()
    place: Any = {} if in_memory else {"out": tmp_path / "out.jsonl"}
    endpoint.stuck = "name 9"
    make_failing(endpoint, kind, 0, 1, 2, 3, 4)
    async with endpoint.client(max_in_flight=2) as client:
        going: Run = run(client, ROWS, id_column="id", **place, **KINDS[kind][0])
        async with going:
            await until(lambda: going.snapshot().done == 9)
            going.retry_failed()
            endpoint.stuck, endpoint.held_from = None, endpoint.answered.total() + 1
            endpoint.release()
            await until(lambda: going.snapshot().failed == 0 and endpoint.in_flight == 2)
            going.stop()
            endpoint.held_from = None
            endpoint.release()
            result = await going.wait()
        lines = list(result)
        assert len(lines) == len({line.custom_id for line in lines}) == result.done
        assert result.left == 10 - len(lines) > 0
        assert not any(line.error for line in lines)
        if not in_memory:
            number = endpoint.answered.total()
            again = await run(client, ROWS, id_column="id", **place, **KINDS[kind][0])
            assert (again.done, again.failed) == (10, 0)
            calls_of_row = {"prompt": 1, "steps": 3, "samples": 3, "embeddings": 1}[kind]
            assert endpoint.answered.total() - number <= calls_of_row * (10 - len(lines))


async def test_a_cancelled_item_is_sent_again_as_a_failed_one() -> None:
    endpoint = FailingEndpoint(held=True)
    async with endpoint.client(max_in_flight=1) as client:
        going: Run = run(client, ROWS, id_column="id", prompt="{name}")
        async with going:
            await until(lambda: endpoint.in_flight == 1)
            assert (await going.cancel(["P0", "P1", "P9"])).cancelled == ["P0", "P1", "P9"]
            await until(lambda: going.snapshot().failed == 2 and endpoint.in_flight == 1)
            going.retry_failed()
            endpoint.release()
            result = await going.wait()
    assert {line.custom_id for line in result if line.error} == {"P9"}
    assert (result.succeeded, result.failed) == (9, 1)


async def test_failed_items_of_rows_that_are_read_once_are_not_sent_again() -> None:
    endpoint = FailingEndpoint(held=True)
    async with endpoint.client() as client, run(client, iter(ROWS), prompt="{name}") as going:
        with pytest.raises(ControlRefused, match="can be read only once"):
            going.retry_failed()


async def test_failed_items_on_stdout_are_not_sent_again(capfd: pytest.CaptureFixture[str]) -> None:
    endpoint = FailingEndpoint(held=True)
    async with endpoint.client() as client, run(client, ROWS, prompt="{name}", out="-") as going:
        with pytest.raises(ControlRefused, match="are on stdout"):
            going.retry_failed()
        await anyio.wait_all_tasks_blocked()
