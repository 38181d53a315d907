"""Endpoints that answer with the page of a proxy, and sessions that are stopped while an endpoint is down."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

import headrace
from batch_runs import client_of, rows, run
from headrace import Call, Headers, Reply
from headrace_batch import BatchEngine
from scripted_batches import BATCH_TIME, ScriptedBatches

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]

PAGE = b"<!doctype html><title>Log in</title>"


class BehindProxy(ScriptedBatches):
    """An endpoint behind a proxy that answers some requests itself."""

    page = ""

    async def send(self, call: Call) -> Reply:
        target = f"{call.request.method} {call.request.path}"
        if self.page and target.startswith(self.page):
            self.requests += 1
            return Reply(200, Headers([(b"content-type", b"text/html")]), PAGE)
        return await super().send(call)


@pytest.mark.parametrize("page", ["GET /batches?", "POST /batches", "GET /batches/", "GET /files/"])
async def test_a_page_in_place_of_an_answer_stops_the_session_soon(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, page: str
) -> None:
    endpoint, out = BehindProxy(), tmp_path / "out.jsonl"
    if page != "GET /batches?":
        await run(endpoint, out, rows(3), BatchEngine(detach=page != "POST /batches", max_requests=2))
    endpoint.page = page
    began, requests = trio.current_time(), endpoint.requests
    with pytest.raises(
        headrace.HeadraceError, match=r"the body is not JSON; does base_url lead to the API\?"
    ):
        await run(endpoint, out, rows(6))
    assert trio.current_time() - began < 2 * BATCH_TIME
    assert endpoint.requests - requests < 60
    endpoint.page = ""
    assert (await run(endpoint, out, rows(6))).done == 6
    assert set(endpoint.billed.values()) == {1}


async def test_a_stop_does_not_wait_for_an_endpoint_that_is_down(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    endpoint, out = ScriptedBatches(), tmp_path / "out.jsonl"
    async with client_of(endpoint) as client:
        session = headrace.run(client, rows(5), out=out, prompt="{name}", id_column="id", engine="batch")
        async with session as running:
            await trio.sleep(BATCH_TIME / 2)
            endpoint.accidents = dict.fromkeys(range(1_000), "lost_before")
            await trio.sleep(BATCH_TIME)
            began = trio.current_time()
            running.stop()
            left = await running.wait()
    assert trio.current_time() - began < 1
    assert isinstance(left.stopped_by, headrace.RunDetached)
    endpoint.accidents = {}
    assert (await run(endpoint, out, rows(5))).succeeded == 5
