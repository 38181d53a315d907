"""Bulk runs from Python, over an endpoint in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import attrs
import pydantic
import pytest
import trio
import trio.testing

import headrace
from headrace.bulk import BulkRun, Journal, LocalExecutor, Source, Task, run
from headrace.bulk.template import Template
from headrace.errors import AuthenticationError, CircuitOpen, ConnectError, JournalError, ServerError
from headrace.policies import Send, Stage
from headrace.testing import Answer, FakeEndpoint

Lines = Callable[[Path], list[dict[str, Any]]]


@pytest.mark.anyio
async def test_each_item_has_one_line_in_the_batch_format(products: Path, read_lines: Lines) -> None:
    out = products.with_name("out.jsonl")
    async with FakeEndpoint(otherwise="Garten").client() as client:
        summary = await run(client, products, prompt="Ordne {name}", choices=["Garten", "Sport"], out=out)
    assert (summary.total, summary.succeeded, summary.failed, summary.left) == (10, 10, 0, 0)
    assert (summary.prompt_tokens, summary.completion_tokens) == (100, 50)
    lines = read_lines(out)
    assert sorted(line["custom_id"] for line in lines) == [f"P{number}" for number in range(10)]
    for line in lines:
        assert line["id"] == f"headrace-{line['custom_id'][1:]}"
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert line["response"]["body"]["choices"][0]["message"]["content"] == "Garten"
        assert line["headrace"]["answer"] == "Garten"


class Rating(pydantic.BaseModel):
    stars: int


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [Rating, attrs.make_class("Stars", {"stars": attrs.field(type=int)})])
async def test_answers_of_a_type_are_written_as_json(products: Path, read_lines: Lines, kind: Any) -> None:
    endpoint, out = (
        FakeEndpoint('{"stars": "none"}', otherwise='{"stars": 5}'),
        products.with_name("out.jsonl"),
    )
    async with endpoint.client(max_in_flight=1) as client:
        summary = await run(client, products, prompt="Rate {name}", answer=kind, out=out)
    assert (summary.succeeded, summary.failures, summary.prompt_tokens) == (9, {"answer_error": 1}, 100)
    first, *others = read_lines(out)
    assert [line["headrace"]["answer"] for line in others] == [{"stars": 5}] * 9
    # The reply was paid for, so the line contains it, with the error.
    assert first["response"]["body"]["choices"][0]["message"]["content"] == '{"stars": "none"}'
    assert first["error"]["code"] == "answer_error"
    assert "answer" not in first["headrace"]


@pytest.mark.anyio
async def test_the_same_call_again_sends_nothing(products: Path) -> None:
    endpoint, out = FakeEndpoint(), products.with_name("out.jsonl")
    for _ in range(2):
        async with endpoint.client() as client:
            summary = await run(client, products, prompt="{name}", out=out)
    assert len(endpoint.attempts) == 10
    assert (summary.done_before, summary.succeeded, summary.left) == (10, 0, 0)


@pytest.mark.anyio
async def test_failed_items_are_done_unless_retry_failed_is_set(products: Path, read_lines: Lines) -> None:
    out = products.with_name("out.jsonl")
    flaky = FakeEndpoint("a", 400, "a", 500, "a")
    async with flaky.client(max_in_flight=1) as client:
        summary = await run(client, products, prompt="{name}", out=out)
    assert (summary.succeeded, summary.failed) == (8, 2)
    assert summary.failures == {"status_error": 1, "server_error": 1}
    assert [line["custom_id"] for line in read_lines(out) if line["error"]] == ["P1", "P3"]

    sound = FakeEndpoint()
    async with sound.client() as client:
        summary = await run(client, products, prompt="{name}", out=out)
    assert (len(sound.attempts), summary.failed_before) == (0, 2)
    async with sound.client() as client:
        summary = await run(client, products, prompt="{name}", out=out, retry_failed=True)
    assert (len(sound.attempts), summary.failed_before, summary.succeeded) == (2, 0, 2)
    lines = read_lines(out)
    assert sorted(line["custom_id"] for line in lines) == [f"P{number}" for number in range(10)]
    assert not any(line["error"] for line in lines)


@pytest.mark.anyio
async def test_an_answer_outside_the_choices_fails_with_the_reply_kept(
    products: Path, read_lines: Lines
) -> None:
    out = products.with_name("out.jsonl")
    async with FakeEndpoint(otherwise="Vielleicht Sport").client() as client:
        summary = await run(client, products, prompt="{name}", choices=["Garten", "Sport"], out=out)
    assert summary.failures == {"answer_error": 10}
    for line in read_lines(out):
        assert line["error"]["code"] == "answer_error"
        assert line["response"]["body"]["choices"][0]["message"]["content"] == "Vielleicht Sport"


@pytest.mark.anyio
async def test_a_rejected_key_stops_the_run_and_no_item_is_done(products: Path, read_lines: Lines) -> None:
    out = products.with_name("out.jsonl")
    endpoint = FakeEndpoint("a", "a", otherwise=401)
    async with endpoint.client(max_in_flight=2) as client:
        summary = await run(client, products, prompt="{name}", out=out)
    assert isinstance(summary.stopped_by, AuthenticationError)
    assert (summary.succeeded, summary.failed, summary.left) == (2, 0, 8)
    assert len(endpoint.attempts) <= 6, "no more than the map holds at a time"
    assert sorted(line["custom_id"] for line in read_lines(out)) == ["P0", "P1"]


@pytest.mark.anyio
async def test_stopping_finishes_what_is_in_flight(products: Path, read_lines: Lines) -> None:
    task, out = Task(Source(products), Template("{name}"), "m"), products.with_name("out.jsonl")
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.01))
    with Journal(out, task.fingerprint()) as journal:
        bulk = BulkRun(task, journal, 10)

        @attrs.define
        class StopAtThird:
            name = "stop"
            stage = Stage.OBSERVE

            def wrap(self, send: Send) -> Send:
                async def stopping(call: headrace.Call) -> headrace.Reply:
                    if call.request.id == "P3":
                        bulk.stop()
                    return await send(call)

                return stopping

        async with endpoint.client([StopAtThird()], max_in_flight=2) as client:
            summary = await bulk.perform(LocalExecutor(client))
    assert summary.stopped_by == "interrupt"
    assert summary.succeeded == len(endpoint.attempts) == len(read_lines(out))
    assert 4 <= summary.succeeded <= 6


@pytest.mark.anyio
async def test_a_cancelled_run_keeps_finished_items(products: Path, read_lines: Lines) -> None:
    out = products.with_name("out.jsonl")
    endpoint = FakeEndpoint("a", "a", "a", otherwise=Answer(delay=3600))
    async with endpoint.client(max_in_flight=1) as client, anyio.create_task_group() as group:
        group.start_soon(run(client, products, prompt="{name}", out=out).perform)
        while not out.exists() or len(read_lines(out)) < 3:  # noqa: ASYNC110 - a file has no event
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert [line["custom_id"] for line in read_lines(out)] == ["P0", "P1", "P2"]
    async with FakeEndpoint().client() as client:
        summary = await run(client, products, prompt="{name}", out=out)
    assert (summary.done_before, summary.succeeded) == (3, 7)


@pytest.mark.anyio
async def test_an_item_is_counted_after_it_is_written(
    products: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Journal, indexes: list[int], lines: bytes) -> None:
        raise JournalError("No space left on device")

    monkeypatch.setattr(Journal, "append", full)
    task = Task(Source(products), Template("{name}"), "m")
    with Journal(products.with_name("out.jsonl"), task.fingerprint()) as journal:
        bulk = BulkRun(task, journal, 10)
        async with FakeEndpoint().client() as client:
            with pytest.raises(JournalError, match="No space"):
                await bulk.perform(LocalExecutor(client))
    assert bulk.summary.succeeded == 0


@pytest.mark.anyio
async def test_a_failed_fsync_is_an_error(products: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    async with FakeEndpoint().client() as client:
        out = products.with_name("out.jsonl")
        task = Task(Source(products), Template("{name}"), "fake-model")
        with Journal(out, task.fingerprint()) as journal:
            monkeypatch.setattr("os.fsync", failing)
            with pytest.raises(
                JournalError, match="Input/output error; the last lines may not be on the disk"
            ):
                await BulkRun(task, journal, 10).perform(LocalExecutor(client))


@pytest.mark.anyio
async def test_costs_add_up_over_all_items(products: Path) -> None:
    @attrs.define
    class TenthOfACent:
        name = "cost"
        stage = Stage.ACCOUNT

        def wrap(self, send: Send) -> Send:
            async def priced(call: headrace.Call) -> headrace.Reply:
                reply = await send(call)
                reply.cost = Decimal("0.001")
                return reply

            return priced

    async with FakeEndpoint().client([TenthOfACent()]) as client:
        summary = await run(client, products, prompt="{name}", out=products.with_name("out.jsonl"))
    assert summary.cost == Decimal("0.010")


@pytest.mark.trio
async def test_the_run_waits_for_an_open_circuit_and_sends_rejected_items_again(
    products: Path, read_lines: Lines, autojump_clock: trio.testing.MockClock
) -> None:
    refused = CircuitOpen("not sent: open", 60.0)
    endpoint, out = (
        FakeEndpoint("a", "a", refused, refused, refused, CircuitOpen("half open", 0.0)),
        (products.with_name("out.jsonl")),
    )
    async with endpoint.client(max_in_flight=2) as client:
        summary = await run(client, products, prompt="{name}", out=out)
    assert (summary.succeeded, summary.failed, summary.stopped_by) == (10, 0, None)
    assert len(read_lines(out)) == 10
    assert 60.5 <= trio.current_time() <= 121.0


@pytest.mark.trio
async def test_items_that_failed_just_before_the_circuit_opened_are_sent_again(
    products: Path, read_lines: Lines, autojump_clock: trio.testing.MockClock
) -> None:
    gone, out = ConnectError("no connection"), products.with_name("out.jsonl")
    endpoint = FakeEndpoint("a", gone, *["a"] * 4, gone, ServerError("500", 500), CircuitOpen("open", 60.0))
    async with endpoint.client(max_in_flight=1) as client:
        summary = await run(client, products, prompt="{name}", out=out)
    # The second item failed for its own reason: the endpoint answered an item that was drawn afterwards.
    assert (summary.succeeded, summary.failures) == (9, {"connect_error": 1})
    assert [line["custom_id"] for line in read_lines(out) if line["error"]] == ["P1"]
    assert len(read_lines(out)) == 10


@pytest.mark.anyio
async def test_without_a_circuit_failed_items_are_written_at_the_end(
    products: Path, read_lines: Lines
) -> None:
    out = products.with_name("out.jsonl")
    async with FakeEndpoint("a", otherwise=ConnectError("no connection")).client(max_in_flight=1) as client:
        summary = await run(client, products, prompt="{name}", out=out)
    assert (summary.succeeded, summary.failed, summary.left) == (1, 9, 0)
    assert len(read_lines(out)) == 10


@pytest.mark.trio
@pytest.mark.parametrize("back", [True, False])
async def test_without_a_circuit_the_run_waits_when_many_items_get_no_answer(
    products: Path,
    read_lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
    back: bool,
) -> None:
    monkeypatch.setattr("headrace.bulk.pending_results._MOST_UNANSWERED", 3)
    out, gone = products.with_name("out.jsonl"), ConnectError("no connection")
    endpoint = FakeEndpoint("a", *[gone] * 50, otherwise="b" if back else gone)
    async with endpoint.client(max_in_flight=2) as client:
        summary = await run(client, products, prompt="{name}", out=out)
    if back:
        # Without retries, items fail that were pending or in flight when the endpoint came back.
        assert summary.failed < 3 + 2
        assert summary.left == 0
        assert trio.current_time() > 5, "the run waits before it sends again"
    else:
        assert "the endpoint has answered none of" in str(summary.stopped_by)
        assert (summary.succeeded, summary.failed, summary.left) == (1, 0, 9)
        assert 590 < trio.current_time() <= 600


@pytest.mark.trio
async def test_an_endpoint_that_stays_down_stops_the_run_without_loss(
    products: Path, read_lines: Lines, autojump_clock: trio.testing.MockClock
) -> None:
    endpoint, out = (
        FakeEndpoint("a", "a", otherwise=CircuitOpen("open", 60.0)),
        products.with_name("out.jsonl"),
    )
    async with endpoint.client(max_in_flight=2) as client:
        summary = await run(client, products, prompt="{name}", out=out)
    assert isinstance(summary.stopped_by, CircuitOpen)
    assert (summary.succeeded, summary.failed, summary.left) == (2, 0, 8)
    assert 540.0 <= trio.current_time() <= 600.0
    async with FakeEndpoint().client() as client:
        assert (await run(client, products, prompt="{name}", out=out)).left == 0


@pytest.mark.trio
async def test_stopping_does_not_wait_for_the_endpoint(
    products: Path, autojump_clock: trio.testing.MockClock
) -> None:
    task = Task(Source(products), Template("{name}"), "m")
    with Journal(products.with_name("out.jsonl"), task.fingerprint()) as journal:
        bulk = BulkRun(task, journal, 10)
        async with (
            FakeEndpoint(otherwise=CircuitOpen("open", 60.0)).client() as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(functools.partial(bulk.perform, LocalExecutor(client)))
            await trio.sleep(10)
            bulk.stop()
    assert trio.current_time() < 12


@pytest.mark.trio
async def test_wait_for_endpoint_limits_the_wait(
    products: Path, autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = FakeEndpoint(otherwise=CircuitOpen("open", 60.0))
    out = products.with_name("out.jsonl")
    async with endpoint.client(max_in_flight=2) as client:
        summary = await run(client, products, prompt="{name}", out=out, wait_for_endpoint=7200)
    assert isinstance(summary.stopped_by, CircuitOpen)
    assert 7100 <= trio.current_time() <= 7200


@pytest.mark.trio
async def test_at_its_deadline_a_run_stops_and_keeps_finished_items(
    products: Path, autojump_clock: trio.testing.MockClock, read_lines: Lines
) -> None:
    endpoint, out = FakeEndpoint(otherwise=Answer(delay=10)), products.with_name("out.jsonl")
    async with endpoint.client(max_in_flight=2) as client:
        summary = await run(client, products, prompt="{name}", out=out, deadline=25)
    assert trio.current_time() == pytest.approx(25)
    assert "the run's deadline of 25 s passed" in str(summary.stopped_by)
    assert (summary.succeeded, summary.failed, summary.left) == (4, 0, 6)
    assert len(read_lines(out)) == 4
    async with FakeEndpoint().client() as client:
        assert (await run(client, products, prompt="{name}", out=out)).left == 0
