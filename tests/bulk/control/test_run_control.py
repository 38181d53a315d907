"""A run is paused, resumed, stopped and changed while it goes on."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.control.held_endpoint import HeldEndpoint, until

from headrace.bulk import Run, RunSnapshot, SetLimit, encode_message, run
from headrace.bulk.control.records import read_changes
from headrace.bulk.run_facts import read_run_facts
from headrace.errors import CallCancelled, ControlRefused
from headrace.policies import Send, Stage
from headrace_cost import Cost

Lines = Callable[[Path], list[dict[str, Any]]]
pytestmark = pytest.mark.anyio


def started(endpoint: HeldEndpoint, client: Any, products: Path, **options: Any) -> Run:
    return run(client, products, prompt="{name}", out=products.with_name("out.jsonl"), **options)


async def test_no_item_is_sent_while_a_run_is_paused(products: Path, read_lines: Lines) -> None:
    endpoint = HeldEndpoint()
    async with endpoint.client(max_in_flight=2) as client, started(endpoint, client, products) as going:
        await until(lambda: endpoint.in_flight == 2)
        going.pause()
        endpoint.release()
        await until(lambda: going.snapshot().succeeded == 2)
        snapshot = going.snapshot()
        assert (snapshot.state, snapshot.waiting, snapshot.in_flight) == ("paused", "paused", 0)
        assert len(endpoint.attempts) == 2
        going.resume()
        assert going.snapshot().state == "running"
        result = await going.wait()
        assert going.snapshot().state == "ended"
    assert (result.succeeded, result.left, result.stopped_by) == (10, 0, None)
    assert len(read_lines(products.with_name("out.jsonl"))) == 10


async def test_a_paused_run_can_be_stopped(products: Path) -> None:
    endpoint = HeldEndpoint()
    async with endpoint.client(max_in_flight=1) as client, started(endpoint, client, products) as going:
        await until(lambda: endpoint.in_flight == 1)
        going.pause()
        going.stop()
        assert going.snapshot().state == "stopping"
        with pytest.raises(ControlRefused, match="the run is stopping"):
            going.resume()
        endpoint.release()
        result = await going.wait()
    assert (result.succeeded, result.left, result.stopped_by) == (1, 9, "interrupt")


async def test_more_calls_begin_at_once_when_the_limit_is_raised(products: Path) -> None:
    endpoint = HeldEndpoint()
    async with endpoint.client(max_in_flight=2) as client, started(endpoint, client, products) as going:
        await until(lambda: endpoint.in_flight == 2)
        going.set_limit("max-in-flight", "5")
        await until(lambda: endpoint.in_flight == 5)
        assert going.snapshot().limits["max-in-flight"] == 5
        client.limiter.total_tokens = 7  # the same limit, in Python
        await until(lambda: endpoint.in_flight == 7)
        assert going.snapshot().max_in_flight == 7
        going.set_limit("max-in-flight", 1)
        endpoint.release(held=True)
        await until(lambda: endpoint.in_flight == 1)
        endpoint.release()
        assert (await going.wait()).succeeded == 10
    assert endpoint.most_in_flight == 7


async def test_the_own_limit_of_a_run_stays_within_that_of_its_client(products: Path) -> None:
    endpoint = HeldEndpoint()
    async with (
        endpoint.client(max_in_flight=4) as client,
        started(endpoint, client, products, max_in_flight=2) as going,
    ):
        await until(lambda: endpoint.in_flight == 2)
        going.set_limit("max-in-flight", 3)
        await until(lambda: endpoint.in_flight == 3)
        with pytest.raises(ControlRefused, match="allows 4 calls at once"):
            going.set_limit("max-in-flight", 5)
        assert client.limiter.total_tokens == 4
        endpoint.release()
        await going.wait()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max-in-flight", "0", "must be an integer from 1 to 1,000,000"),
        ("max-in-flight", "many", "must be an integer from 1 to 1,000,000"),
        ("max-in-flight", None, "must be an integer from 1 to 1,000,000"),
        ("max_in_flight", 3, "did you mean 'max-in-flight'"),
        ("budget", "5", "no policy of this run has it"),
    ],
)
async def test_a_limit_that_is_not_valid_is_refused(
    products: Path, name: str, value: Any, message: str
) -> None:
    endpoint = HeldEndpoint()
    async with endpoint.client(max_in_flight=2) as client, started(endpoint, client, products) as going:
        with pytest.raises(ControlRefused, match=message):
            going.set_limit(name, value)
        assert going.snapshot().limits == {"max-in-flight": 2}


async def test_a_value_that_a_policy_refuses_is_named_once(products: Path) -> None:
    endpoint = HeldEndpoint()
    async with (
        endpoint.client([Cost(prices={}, budget="5")]) as client,
        started(endpoint, client, products) as going,
    ):
        with pytest.raises(ControlRefused) as caught:
            going.set_limit("budget", "much")
    assert str(caught.value) == "budget='much': must be an amount in USD, like 5.00"


async def test_each_change_is_logged_and_kept_in_the_sidecar(
    products: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint, out = HeldEndpoint(), products.with_name("out.jsonl")
    caplog.set_level(logging.INFO, "headrace")
    async with endpoint.client(max_in_flight=2) as client, started(endpoint, client, products) as going:
        going.set_limit("max-in-flight", 3)
        going.set_limit("max-in-flight", 3)  # no change
        going.pause()
        going.resume()
        endpoint.release()
        await going.wait()
        shown = [str(change) for change in going.snapshot().changes]
    changes = read_changes(out)
    assert [(change.what, change.old, change.new) for change in changes] == [
        ("max-in-flight", 2, 3),
        ("state", "running", "paused"),
        ("state", "paused", "running"),
    ]
    assert shown == [str(change) for change in changes]
    assert [record.getMessage() for record in caplog.records] == [f"{out}: {text}" for text in shown]
    async with endpoint.client() as client:  # the records do not disturb the next session
        assert (await started(endpoint, client, products)).done_before == 10


async def test_the_snapshot_has_all_members_as_json(products: Path) -> None:
    endpoint, out = HeldEndpoint(400, held=False), products.with_name("out.jsonl")
    async with endpoint.client(max_in_flight=1) as client, started(endpoint, client, products) as going:
        await going.wait()
        snapshot = going.snapshot()
    assert isinstance(snapshot, RunSnapshot)
    found = json.loads(snapshot.to_json())
    assert found["failures"][0]["code"] == "status_error"
    assert (
        found
        | {
            "type": "status",
            "version": 1,
            "state": "ended",
            "out": str(out),
            "engine": None,
            "total": 10,
            "counted": True,
            "done": 10,
            "left": 0,
            "failed": 1,
            "in_flight": 0,
            "max_in_flight": 1,
            "waiting": "",
            "circuits": {},
            "limits": {"max-in-flight": 1},
            "time_left": None,
            "changes": [],
        }
        == found
    )
    assert found["run"]
    assert found["time"] > 1e9
    assert snapshot.failed == 1
    assert "1 failed" in repr(snapshot)


async def test_items_are_cancelled_in_flight_and_before_they_are_sent(
    products: Path, read_lines: Lines
) -> None:
    endpoint = HeldEndpoint()
    async with endpoint.client(max_in_flight=2) as client, started(endpoint, client, products) as going:
        await until(lambda: endpoint.in_flight == 2)
        endpoint.release(held=True)
        await until(lambda: going.snapshot().succeeded == 2 and endpoint.in_flight == 2)
        done = await going.cancel(["P3", "P8", "P0", "P99"])
        assert str(done.change) == "cancelled: P3, P8"
        assert (done.cancelled, done.finished, done.unknown) == (["P3", "P8"], ["P0"], ["P99"])
        assert done.message == (
            "Cancelled in flight: P3. Fail when their turn comes: P8. Done already: P0. "
            "Not in the input: P99."
        )
        await until(lambda: going.snapshot().failed == 1)
        await until(lambda: endpoint.in_flight == 2)  # another call takes its place
        with pytest.raises(ControlRefused, match="Done already: P3"):
            await going.cancel(["P3"])
        endpoint.release()
        result = await going.wait()
    assert (result.succeeded, result.failed, result.failures) == (8, 2, {CallCancelled.code: 2})
    failed = {
        each["custom_id"]: each for each in read_lines(products.with_name("out.jsonl")) if each["error"]
    }
    assert failed.keys() == {"P3", "P8"}
    assert failed["P3"]["error"]["message"] == "cancelled while it was in flight"
    assert failed["P3"]["headrace"]["attempts"] == 1
    assert failed["P8"]["error"]["message"] == "cancelled before it was sent"
    assert "P8" not in [request.id for request in endpoint.attempts]


async def test_failed_items_are_sent_again_in_the_same_run(products: Path, read_lines: Lines) -> None:
    out = products.with_name("out.jsonl")
    first = HeldEndpoint(400, 400, held=False)
    async with first.client(max_in_flight=1) as client:
        assert (await started(first, client, products, limit=4)).failed == 2
    endpoint = HeldEndpoint(400)
    async with endpoint.client(max_in_flight=1) as client, started(endpoint, client, products) as going:
        await until(lambda: endpoint.in_flight == 1)
        endpoint.release(held=True)
        await until(lambda: going.snapshot().failed == 1 and endpoint.in_flight == 1)
        going.retry_failed()
        endpoint.release()
        seen = [(line.custom_id, line.error is None) async for line in going]
        result = await going.wait()
    assert (result.done_before, result.failed_before) == (2, 0)
    assert (result.succeeded, result.failed, result.left, result.failures) == (8, 0, 0, {})
    lines = read_lines(out)
    assert sorted(line["custom_id"] for line in lines) == [f"P{number}" for number in range(10)]
    assert not any(line["error"] for line in lines)
    assert len({line["id"] for line in lines}) == 10
    assert ("P4", False) in seen
    assert ("P4", True) in seen
    assert [id for id, good in seen if good] == [request.id for request in endpoint.attempts[1:]]
    async with endpoint.client() as client:
        assert (await started(endpoint, client, products)).succeeded == 0


async def test_the_circuits_of_a_client_that_was_open_before_are_known(products: Path) -> None:
    class Fuse:
        name, stage = "fuse", Stage.PROTECT

        def wrap(self, send: Send) -> Send:
            return send

        def open_circuits(self) -> dict[str, str]:
            return {"http://fake.test/v1": "500 five times"}

    endpoint = HeldEndpoint()
    async with endpoint.client([Fuse()]) as client, started(endpoint, client, products) as going:
        assert going.snapshot().circuits == {"http://fake.test/v1": "500 five times"}


async def test_a_run_in_memory_can_be_paused(products: Path) -> None:
    endpoint = HeldEndpoint()
    async with endpoint.client() as client, run(client, products, prompt="{name}") as going:
        going.pause()
        assert going.snapshot().state == "paused"
        assert going.snapshot().out is None


async def test_a_run_can_be_changed_before_its_first_call(products: Path) -> None:
    endpoint = HeldEndpoint(held=False)
    async with endpoint.client(max_in_flight=2) as client, started(endpoint, client, products) as going:
        going.pause()
        assert (await going.cancel(["P1"])).cancelled == ["P1"]
        going.retry_failed()
        going.resume()
        result = await going.wait()
    assert (result.succeeded, result.failed) == (9, 1)
    assert len(endpoint.attempts) == 9


@pytest.mark.parametrize("ids", ["P1", None, 5, [5], [None], [], b"P1"])
async def test_what_is_no_list_of_ids_cancels_nothing(products: Path, ids: Any) -> None:
    endpoint = HeldEndpoint(held=False)
    async with endpoint.client() as client, started(endpoint, client, products) as going:
        going.pause()
        with pytest.raises(ControlRefused, match=r"must be a list of ids|no ids"):
            await going.cancel(ids)
        going.resume()
        assert (await going.wait()).succeeded == 10


async def test_many_items_are_cancelled_at_once(products: Path) -> None:
    endpoint = HeldEndpoint()
    ids = [f"P{number}" for number in range(30)]
    async with endpoint.client(max_in_flight=2) as client, started(endpoint, client, products) as going:
        await until(lambda: endpoint.in_flight == 2)
        endpoint.release(held=True)
        await until(lambda: going.snapshot().succeeded == 2 and endpoint.in_flight == 2)
        done = await going.cancel(ids)
        assert (done.cancelled, done.finished, done.unknown) == (
            [f"P{number}" for number in (2, 3, 4, 5, 6, 7, 8, 9)],
            ["P0", "P1"],
            ids[10:],
        )
        result = await going.wait()  # no answer is released
    assert (result.succeeded, result.failed, result.left) == (2, 8, 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nonsense", "not a control message"),
        (b"[1]", "not a control message"),
        (b'{"type": "pause"}', "missing required field `version`"),
        (b'{"type": "pause", "version": 2}', "takes control messages of version 1, not 2"),
        (b'{"type": "pauze", "version": 1}', "did you mean 'pause'"),
        (b'{"type": "set", "version": 1, "name": "budget"}', "missing required field `value`"),
        (b'{"type": "cancel", "version": 1, "ids": [1]}', "not a control message"),
        (b'{"type": "cancel", "version": 1, "ids": []}', "no ids"),
        (b"\xff\xfe", "not a control message"),
        (b"[" * 100_000, "not a control message"),
    ],
)
async def test_a_message_that_is_not_known_is_refused(products: Path, line: bytes, message: str) -> None:
    endpoint = HeldEndpoint()
    async with endpoint.client() as client, started(endpoint, client, products) as going:
        reply = json.loads(await going._opened().control.reply_to(line))
        assert (reply["type"], reply["version"]) == ("refused", 1)
        assert message in reply["message"]
        assert going.snapshot().state == "running"


async def test_an_ended_run_takes_no_messages_but_says_its_status(products: Path) -> None:
    endpoint = HeldEndpoint(held=False)
    async with endpoint.client() as client, started(endpoint, client, products) as going:
        await going.wait()
        control = going._opened().control
        message = encode_message(SetLimit(name="max-in-flight", value=5))
        assert b"the run has ended" in await control.reply_to(message)
        for change in (going.pause, going.retry_failed, lambda: going.set_limit("max-in-flight", 5)):
            with pytest.raises(ControlRefused, match="the run has ended"):
                change()
        assert b'"state":"ended"' in await control.reply_to(b'{"type":"status","version":1}')


async def test_a_report_names_the_changes(products: Path) -> None:
    endpoint = HeldEndpoint(held=False)
    async with endpoint.client(max_in_flight=1) as client, started(endpoint, client, products) as going:
        going.set_limit("max-in-flight", 3)
        await going.wait()
    name, text = read_run_facts(products.with_name("out.jsonl"))[-1]
    assert name == "Changes"
    assert re.fullmatch(r"\d\d:\d\d:\d\d max-in-flight: 1 → 3", text)
