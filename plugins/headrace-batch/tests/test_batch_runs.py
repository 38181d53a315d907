"""What a run in batches does with the endpoint's answers, in virtual time."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
import trio
import trio.testing

import headrace
from batch_runs import client_of, errors_of, in_ten_seconds, lines_of, rows, run
from headrace_batch import BatchEngine
from headrace_cost import Cost
from scripted_batches import BATCH_TIME, Killed, ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]


def folder_of(out: Path) -> Path:
    """The folder with the ledger and the files of a run's parts."""
    return next(out.parent.glob(f"{out.name}.batch-*"))


def files_of(out: Path) -> list[Path]:
    return list(folder_of(out).iterdir())


PRICES = {"m": {"input": "2", "output": "8"}}
ROW_COST = Decimal("0.0006") / 2
"""100 and 50 tokens, at half the price."""


async def test_rows_go_through_batches_and_cost_half(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(failures=0.4, seed=3), tmp_path / "out.jsonl"
    result = await run(endpoint, out, rows(10), BatchEngine(max_requests=4), [Cost(prices=PRICES)])
    assert (result.succeeded, result.failed, result.left) == (10, 0, 0)
    assert result.cost == 10 * ROW_COST
    assert set(endpoint.billed.values()) == {1}
    assert len(endpoint.batches) > 3
    line = lines_of(out)["r3"]
    assert line["response"]["request_id"] == "req-r3"
    assert Decimal(str(line["headrace"]["cost"])) == ROW_COST
    assert [path.name for path in files_of(out)] == ["ledger.jsonl"]


async def test_a_session_that_leaves_is_continued_also_without_its_ledger(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    left = await run(endpoint, out, rows(7), BatchEngine(max_requests=4, detach=True))
    assert isinstance(left.stopped_by, headrace.RunDetached)
    assert not left.stopped_by.interrupted
    assert "2 batches with 7 rows go on at the endpoint" in str(left.stopped_by)
    assert f"headrace batch cancel {out}" in str(left.stopped_by)
    assert (left.done, left.left) == (0, 7)
    shutil.rmtree(folder_of(out))
    await trio.sleep(2 * BATCH_TIME)
    result = await run(endpoint, out, rows(7))
    assert (result.succeeded, len(endpoint.batches)) == (7, 2)
    assert set(endpoint.billed.values()) == {1}


async def test_files_of_parts_are_fetched_from_the_endpoint(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(7), BatchEngine(max_requests=4, detach=True))
    for path in files_of(out):
        if path.name != "ledger.jsonl":
            path.unlink()
    result = await run(endpoint, out, rows(7))
    assert (result.succeeded, len(endpoint.batches)) == (7, 2)


async def test_a_stopped_run_leaves_its_batches_running(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    client = headrace.Client(base_url="https://batches.test/v1", model="m", policies=[], transport=endpoint)
    async with client:
        session = headrace.run(client, rows(5), out=out, prompt="{name}", id_column="id", engine="batch")
        async with session as running:
            await trio.sleep(BATCH_TIME / 2)
            running.stop()
            left = await running.wait()
    assert isinstance(left.stopped_by, headrace.RunDetached)
    assert left.stopped_by.interrupted
    assert [batch.status for batch in endpoint.batches.values()] == ["in_progress"]
    assert (await run(endpoint, out, rows(5))).succeeded == 5


async def test_changed_and_new_rows_are_sent_and_the_others_adopted(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    await run(endpoint, out, rows(5), BatchEngine(detach=True))
    changed = rows(6)
    changed[2]["name"] = "other"
    result = await run(endpoint, out, changed)
    assert result.succeeded == 6
    sizes = [batch.file.content.count(b"\n") for batch in endpoint.batches.values()]
    assert sizes == [5, 2]
    assert lines_of(out)["r2"]["response"]["body"]["choices"][0]["message"]["content"] == "other"
    assert [path.name for path in files_of(out)] == ["ledger.jsonl"]
    assert (await run(endpoint, out, changed, None)).left == 0  # no batch is left


async def test_rows_that_never_succeed_fail_after_three_batches(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    endpoint.lines_of = lambda content: b"".join(
        line for line in content.splitlines(keepends=True) if b'"r1"' not in line
    )
    result = await run(endpoint, out, rows(3))
    assert (result.succeeded, result.failed) == (2, 1)
    assert errors_of(out) == {"r1": "call_failed"}
    assert len(endpoint.batches) == 3


async def test_stragglers_are_sent_as_ordinary_calls(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(failures=0.5, seed=1), tmp_path / "out.jsonl"
    result = await run(endpoint, out, rows(12), BatchEngine(stragglers="sync"))
    assert (result.succeeded, len(endpoint.batches)) == (12, 1)
    assert set(endpoint.billed.values()) == {1}
    assert sum(endpoint.rounds.values()) == 12


async def test_the_rest_is_sent_at_once_when_it_is_time(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_batch.options.BatchOptions.finish_at", in_ten_seconds)
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    result = await run(endpoint, out, rows(5), BatchEngine(finish_by="06:00"))
    assert result.succeeded == 5
    assert [batch.status for batch in endpoint.batches.values()] == ["cancelled"]
    assert result.elapsed < BATCH_TIME


async def test_batches_become_smaller_when_the_endpoint_refuses_them(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(max_requests=3), tmp_path / "out.jsonl"
    result = await run(endpoint, out, rows(10))
    assert result.succeeded == 10
    assert max(batch.counts["completed"] for batch in endpoint.batches.values() if batch.counts) <= 3
    ledger = (folder_of(out) / "ledger.jsonl").read_text()
    assert '"limits":{"requests":5}' in ledger
    assert '"limits":{"requests":2}' in ledger


async def test_a_batch_that_finds_no_room_at_the_endpoint_is_created_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(max_enqueued=4), tmp_path / "out.jsonl"
    result = await run(endpoint, out, rows(12), BatchEngine(max_requests=6))
    assert result.succeeded == 12
    assert set(endpoint.billed.values()) == {1}
    ledger = (folder_of(out) / "ledger.jsonl").read_text()
    assert '"stage":"uploaded","refused":"batch-' in ledger
    assert '"limits":{"requests":3}' in ledger


async def test_a_refusal_without_a_known_reason_ends_the_session_and_not_the_run(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(refusal="billing"), tmp_path / "out.jsonl"
    with pytest.raises(headrace.HeadraceError, match=r"refused batch batch-2 \(part 1\): billing no"):
        await run(endpoint, out, rows(3))
    endpoint.refusal = ""
    assert (await run(endpoint, out, rows(3))).succeeded == 3


async def test_rows_that_were_sent_at_once_in_between_are_not_paid_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches({2: "kill_before"}), tmp_path / "out.jsonl"
    with pytest.RaisesGroup(Killed, flatten_subgroups=True, allow_unwrapped=True):
        await run(endpoint, out, rows(5))
    client = headrace.Client(base_url="https://batches.test/v1", model="m", policies=[], transport=endpoint)
    async with client:
        await headrace.run(
            client,
            rows(5),
            out=out,
            prompt="{name}",
            id_column="id",
            only=["r1", "r2"],
            keep_done=True,
        )
    result = await run(endpoint, out, rows(5))
    assert (result.done, result.succeeded) == (5, 3)
    assert endpoint.billed == {f"r{number}": 1 for number in range(5)}


async def test_a_row_that_makes_a_batch_invalid_fails_alone(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    items = [*rows(4), {"id": "bad", "name": "refuse me"}]
    result = await run(endpoint, out, items)
    assert (result.succeeded, result.failed) == (4, 1)
    assert "bad row" in lines_of(out)["bad"]["error"]["message"]
    assert set(endpoint.billed.values()) == {1}


async def test_a_batch_waits_for_room_in_the_budget(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    cost = Cost(prices=PRICES, budget="0.0035")  # a row is estimated at 0.0004 or a little more
    result = await run(
        endpoint, out, rows(9), BatchEngine(max_requests=3), [cost], parameters={"max_tokens": 100}
    )
    assert result.succeeded == 9
    assert cost.spent == 9 * ROW_COST
    created = sorted(batch.created for batch in endpoint.batches.values())
    assert created[2] - created[0] >= BATCH_TIME


async def test_a_batch_that_can_never_be_paid_is_not_sent(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint = ScriptedBatches()
    cost = Cost(prices=PRICES, budget="0.0001")
    with pytest.raises(headrace.BudgetExceeded, match=r"budget are left; raise the budget, set max_tokens"):
        await run(endpoint, tmp_path / "out.jsonl", rows(3), policies=[cost])
    assert not endpoint.batches


def shuffled(content: bytes) -> bytes:
    return b"".join(sorted(content.splitlines(keepends=True), reverse=True))


def damaged(content: bytes) -> bytes:
    line = content.splitlines(keepends=True)[0]
    foreign = line.replace(b'"custom_id":"r', b'"custom_id":"other')
    return b"not JSON\n\n\xff\xfe\n" + foreign + content + line + b'{"custom_id"'


@pytest.mark.parametrize(
    ("damage", "noted"),
    [
        (shuffled, ""),
        (
            damaged,
            "2 malformed lines, 1 line of another request, 1 second line of a row, a last line that is cut",
        ),
    ],
)
async def test_damaged_files_lose_nothing(
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    noted: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "headrace")
    endpoint, out = ScriptedBatches(lines_of=damage), tmp_path / "out.jsonl"
    result = await run(endpoint, out, rows(6))
    assert (result.succeeded, len(endpoint.batches)) == (6, 1)
    assert noted in caplog.text
    assert bool(noted) == ("(part 1)" in caplog.text)


async def test_a_truncated_file_is_named_and_its_rows_are_sent_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headrace")
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"

    def cut(content: bytes) -> bytes:
        endpoint.lines_of = None  # only the first batch
        return b"".join(content.splitlines(keepends=True)[:2])

    endpoint.lines_of = cut
    result = await run(endpoint, out, rows(6))
    assert result.succeeded == 6
    assert "4 lines fewer than it has finished requests" in caplog.text


@pytest.mark.parametrize("status", [404, 405])
async def test_an_endpoint_without_batches_is_named(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, status: int
) -> None:
    class Without(ScriptedBatches):
        def _list_batches(self, *arguments: object) -> headrace.Reply:
            return headrace.Reply(status, headrace.Headers([]), b"{}")

    with pytest.raises(headrace.HeadraceError, match=r"has no batches .*; leave out engine="):
        await run(Without(), tmp_path / "out.jsonl", rows(2))


async def test_each_model_and_path_has_its_own_batch(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [
        {"custom_id": f"c{number}", "method": "POST", "url": url, "body": {"model": model, "messages": []}}
        for number, (url, model) in enumerate(
            [("/v1/chat/completions", "a"), ("/v1/responses", "a"), ("/v1/chat/completions", "b")]
        )
    ]
    source.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    endpoint = ScriptedBatches()
    client = headrace.Client(base_url="https://batches.test/v1", policies=[], transport=endpoint)
    async with client:
        left = await headrace.run(client, source, out=out, engine=BatchEngine(detach=True))
    assert isinstance(left.stopped_by, headrace.RunDetached)
    contents = [batch.file.content for batch in endpoint.batches.values()]
    assert len(contents) == 3
    assert all(len(set(re.findall(rb'"(?:url|model)":"([^"]*)"', each))) == 2 for each in contents)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": None}, "engine=: needs a file as out="),
        ({"processes": 2}, "leave it out; engine= works in one process"),
        ({"engine": "batsh"}, "engine='batsh': no such engine"),
    ],
)
async def test_mistakes_are_named(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    given = {"out": tmp_path / "out.jsonl", "engine": "batch", "prompt": "{name}", **arguments}
    client = headrace.Client(
        base_url="https://batches.test/v1", model="m", policies=[], transport=ScriptedBatches()
    )
    async with client:
        with pytest.raises(headrace.SettingsError, match=message):
            await headrace.run(
                (lambda: client) if "processes" in arguments else client,
                rows(1),
                **given,  # type: ignore[arg-type]
            )


async def test_a_paused_run_makes_no_new_batches(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    async with (
        client_of(endpoint) as client,
        headrace.run(
            client, rows(6), out=out, prompt="{name}", id_column="id", engine=BatchEngine(max_requests=2)
        ) as going,
    ):
        going.pause()
        await trio.sleep(3 * BATCH_TIME)
        snapshot = going.snapshot()
        assert (snapshot.state, snapshot.engine, snapshot.max_in_flight) == ("paused", "batch", None)
        assert not endpoint.batches
        with pytest.raises(headrace.ControlRefused, match="engine batch has no such limit"):
            going.set_limit("max-in-flight", 4)
        going.retry_failed()  # there are none
        going.resume()
        result = await going.wait()
    assert (result.succeeded, len(endpoint.batches)) == (6, 3)


async def test_a_paused_run_in_batches_can_be_stopped(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    async with (
        client_of(endpoint) as client,
        headrace.run(client, rows(6), out=out, prompt="{name}", id_column="id", engine="batch") as going,
    ):
        going.pause()
        await trio.sleep(BATCH_TIME)
        going.stop()
        result = await going.wait()
    assert (result.left, len(endpoint.batches)) == (6, 0)


async def test_rows_that_no_batch_could_take_for_now_are_sent_again_after_a_pause(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out, limited = ScriptedBatches(), tmp_path / "out.jsonl", []

    def limit(content: bytes) -> bytes:
        limited.append(content)
        if len(limited) > 6:
            return content
        return content.replace(b'"status_code":200', b'"status_code":429')

    endpoint.lines_of = limit
    result = await run(endpoint, out, rows(6), BatchEngine(max_requests=3))
    assert (result.succeeded, result.failed) == (6, 0)
    assert len(endpoint.batches) == 8, "two parts in three rounds, and again"
