"""A session that must leave or finish waits for no pause: what it repeats is left to the next session."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

import headrace
from batch_runs import client_of, in_ten_seconds, rows, run
from headrace import Call, Headers, Reply
from headrace_batch import BatchEngine
from provider_forms import AzureV1Form
from scripted_batches import ScriptedBatches
from scripted_forms import json_reply

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]


class Busy(ScriptedBatches):
    """An endpoint that refuses some requests for now, with an hour until the next attempt."""

    def __init__(self, refused: str, retry_after: str = "3600") -> None:
        super().__init__()
        self.refused: str = refused
        self.retry_after: str = retry_after
        self.refusals: int = 0

    async def send(self, call: Call) -> Reply:
        if f"{call.request.method} {call.request.path}" != self.refused:
            return await super().send(call)
        self.refusals += 1
        await trio.lowlevel.checkpoint()
        reply = json_reply(429, {"error": {"message": "busy"}})
        reply.headers = Headers([(b"retry-after", self.retry_after.encode())])
        return reply


@pytest.mark.parametrize("refused", ["POST /files", "POST /batches"])
async def test_a_stop_ends_a_pause_at_once(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint, out = Busy(refused), tmp_path / "out.jsonl"
    async with client_of(endpoint) as client:
        session = headrace.run(client, rows(5), out=out, prompt="{name}", id_column="id", engine="batch")
        async with session as going:
            await trio.sleep(10)
            going.stop()
            result = await going.wait()
    assert result.elapsed == pytest.approx(10, abs=1)
    assert (result.left, endpoint.refusals) == (5, 1)
    assert "limit is reached); it is tried again in 1:00:00" in caplog.text
    endpoint.refused = ""
    result = await run(endpoint, out, rows(5))
    assert (result.succeeded, set(endpoint.billed.values()), len(endpoint.batches)) == (5, {1}, 1)
    assert sum(file.purpose == "batch" for file in endpoint.files.values()) == 1


@pytest.mark.parametrize("refused", ["POST /files", "POST /batches"])
async def test_the_time_to_finish_ends_a_pause_at_once(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    monkeypatch.setattr("headrace_batch.options.BatchOptions.finish_at", in_ten_seconds)
    endpoint = Busy(refused)
    result = await run(endpoint, tmp_path / "out.jsonl", rows(5), BatchEngine(finish_by="06:00"))
    assert (result.succeeded, endpoint.batches, endpoint.refusals) == (5, {}, 1)
    assert result.elapsed == pytest.approx(10, abs=1)


async def test_a_paused_run_repeats_nothing(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    endpoint, out = Busy("POST /files", "20"), tmp_path / "out.jsonl"
    async with client_of(endpoint) as client:
        session = headrace.run(client, rows(5), out=out, prompt="{name}", id_column="id", engine="batch")
        async with session as going:
            await trio.sleep(10)
            going.pause()
            await trio.sleep(1000)
            assert endpoint.refusals == 1
            endpoint.refused = ""
            going.resume()
            result = await going.wait()
    assert (result.succeeded, set(endpoint.billed.values())) == (5, {1})


async def test_a_file_that_is_being_processed_holds_up_no_stop(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint = ScriptedBatches(form=AzureV1Form())
    async with client_of(endpoint) as client:
        session = headrace.run(
            client, rows(5), out=tmp_path / "out.jsonl", prompt="{name}", id_column="id", engine="batch"
        )
        async with session as going:
            await trio.sleep(7)
            going.stop()
            result = await going.wait()
    assert result.elapsed == pytest.approx(7, abs=0.5)
    assert (result.left, endpoint.batches) == (5, {})
