"""Faults of requests for files and batches, in virtual time."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import anyio
import httpx
import pytest
from tests.testing.server.batches.virtual_endpoint import CHAT, Endpoint, content_of, in_virtual_time, line_of

from headrace.testing.server.plan_sending import ConnectionCut, send_plan
from headrace.testing.server.response_plan import ResponsePlan
from headrace.testing.server.stored_content import ContentRange, StoredContent

ATTEMPTS = 20

FAULTS = [("429", False), ("503", False), ("500", True), ("reset", True), ("stall", True), ("truncate", True)]
"""Each fault, and whether the endpoint has done what was asked for."""


async def whole(response: httpx.Response | None) -> bool:
    """Whether a response says all that it should."""
    try:
        return response is not None and "id" in response.json()
    except json.JSONDecodeError:
        return False


async def upload(endpoint: Endpoint, content: bytes) -> httpx.Response | None:
    with suppress(ConnectionCut):
        return await endpoint.upload(content)
    return None


async def upload_until_answered(endpoint: Endpoint, content: bytes) -> str:
    response = None
    while not await whole(response):
        response = await upload(endpoint, content)
    assert response is not None
    return str(response.json()["id"])


@pytest.mark.parametrize(("fault", "done"), FAULTS)
def test_uploads_and_creations_are_refused_or_done_without_an_answer(fault: str, done: bool) -> None:
    async def main(endpoint: Endpoint) -> None:
        responses = [await upload(endpoint, content_of([line_of("a")])) for _ in range(ATTEMPTS)]
        [*_, file] = [each.json() for each in responses if each is not None and await whole(each)]
        uploaded = sum([await whole(each) for each in responses])
        body = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
        created = 0
        for _ in range(ATTEMPTS):
            with suppress(ConnectionCut):
                created += await whole(await endpoint.http.post("/batches", json=body))
        assert 0 < uploaded < ATTEMPTS
        assert 0 < created < ATTEMPTS
        counts = (await endpoint.json("GET", "http://endpoint.test/headrace/counts"))["batches"]
        assert counts["files"] == (ATTEMPTS if done else uploaded)
        assert counts["batches"] == (ATTEMPTS if done else created)
        assert counts["faults"] == {fault: 2 * ATTEMPTS - uploaded - created}
        assert counts["requests"] == sum(counts["by_status"].values()) == 2 * ATTEMPTS

    in_virtual_time(main, errors=0.5, faults=[fault], seed=3)


def test_faults_are_the_same_in_each_run_although_ids_and_boundaries_are_not() -> None:
    seen: list[list[int]] = []

    async def main(endpoint: Endpoint) -> None:
        responses = [await endpoint.upload(content_of([line_of(f"{n}")])) for n in range(ATTEMPTS)]
        seen.append([each.status_code for each in responses])

    for _ in range(2):
        in_virtual_time(main, errors=0.5, faults=["429", "500"])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {200, 429, 500}


@pytest.mark.parametrize("size", [100, 3_000_000])
def test_a_download_is_cut_or_ends_early_without_a_sign(size: int) -> None:
    content = bytes(range(100)) * (size // 100)

    async def main(endpoint: Endpoint) -> None:
        file, seen = await upload_until_answered(endpoint, content), set()
        for _ in range(ATTEMPTS):
            found = await endpoint.http.get(f"/files/{file}/content")
            assert int(found.headers["content-length"]) == len(found.content)
            assert content.startswith(found.content)
            seen.add(len(found.content))
        assert seen == {size // 2, size}

    in_virtual_time(main, errors=0.5, faults=["truncate"], seed=3)


@pytest.mark.anyio
async def test_a_cut_download_has_half_of_the_announced_bytes() -> None:
    content = StoredContent()
    content.append(bytes(3_000_000))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is awaited")

    plan = ResponsePlan(stored=ContentRange(content, 1_000_000, 3_000_000), fault="reset")
    with pytest.raises(ConnectionCut):
        await send_plan(plan, receive, send)
    assert dict(sent[0]["headers"]) == {b"content-length": b"2000000"}
    assert sum(len(message["body"]) for message in sent[1:]) == 1_000_000


def test_latency_is_that_of_other_requests() -> None:
    async def main(endpoint: Endpoint) -> None:
        begin = anyio.current_time()
        await endpoint.json("GET", "/batches")
        assert anyio.current_time() - begin == pytest.approx(2)

    in_virtual_time(main, latency=2.0)
