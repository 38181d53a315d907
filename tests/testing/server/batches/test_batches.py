"""The states of a batch, and its files, in virtual time."""

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import pytest
from tests.testing.server.batches.virtual_endpoint import Endpoint, content_of, in_virtual_time, line_of

from headrace.testing.server import Behaviour, create_app

IDS = [f"row {n}" for n in range(100)]
ROWS = content_of(map(line_of, IDS))

TIMES = [f"{name}_at" for name in ("created", "in_progress", "finalizing", "completed")]


def test_a_batch_goes_through_its_states_and_its_counts_advance() -> None:
    async def main(endpoint: Endpoint) -> None:
        batch = await endpoint.create(ROWS, metadata={"run": "7"})
        assert (batch["status"], batch["model"], batch["output_file_id"]) == ("validating", None, None)
        seen = []
        for _ in range(11):
            batch = await endpoint.batch(batch["id"])
            seen.append((batch["status"], batch["request_counts"]["completed"]))
            assert (batch["status"] == "completed") == (batch["output_file_id"] is not None)
            await anyio.sleep(10)
        assert seen == [
            ("validating", 0),
            *[("in_progress", at) for at in (0, 12, 25, 37, 50, 62, 75, 87)],
            ("finalizing", 100),
            ("completed", 100),
        ]
        assert batch["request_counts"] == {"total": 100, "completed": 100, "failed": 0}
        assert (batch["metadata"], batch["model"], batch["error_file_id"]) == ({"run": "7"}, "m", None)
        assert [batch[name] - batch["created_at"] for name in TIMES] == [0, 10, 90, 100]

    in_virtual_time(main, batch_time=100.0)


def test_answers_are_those_of_ordinary_calls_in_another_order() -> None:
    async def main(endpoint: Endpoint) -> None:
        batch = await endpoint.create(ROWS)
        await anyio.sleep(1)
        batch = await endpoint.batch(batch["id"])
        lines = await endpoint.lines(batch["output_file_id"])
        assert list(lines) != IDS
        assert sorted(lines) == sorted(IDS)
        bodies = []
        for custom_id, line in lines.items():
            called = await endpoint.json("POST", "/chat/completions", json=line_of(custom_id)["body"])
            assert line["error"] is None
            assert line["response"]["status_code"] == 200
            # The id is made of the bytes of the body, in which JSON may have spaces.
            assert line["response"]["body"] | {"id": None} == called | {"id": None}
            bodies.append(called["usage"])
        usage = batch["usage"]
        assert usage["input_tokens"] == sum(each["prompt_tokens"] for each in bodies)
        assert usage["output_tokens"] == sum(each["completion_tokens"] for each in bodies)
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]

    in_virtual_time(main)


@pytest.mark.parametrize(
    ("url", "body", "member"),
    [
        ("/v1/embeddings", {"model": "e", "input": ["a", "b"]}, "data"),
        ("/v1/responses", {"model": "r", "input": "Hello"}, "output"),
    ],
)
def test_other_endpoints_are_called(url: str, body: dict[str, Any], member: str) -> None:
    async def main(endpoint: Endpoint) -> None:
        created = await endpoint.create(content_of([line_of("a", url, **body)]), url)
        await anyio.sleep(1)
        batch = await endpoint.batch(created["id"])
        lines = await endpoint.lines(batch["output_file_id"])
        called = await endpoint.json("POST", url.removeprefix("/v1"), json=body)
        assert lines["a"]["response"]["body"][member][0].keys() == called[member][0].keys()
        assert batch["usage"]["total_tokens"] == called["usage"]["total_tokens"] > 0

    in_virtual_time(main)


def test_failures_are_in_the_error_file_and_a_later_batch_can_succeed() -> None:
    async def main(endpoint: Endpoint) -> None:
        failed: list[list[str]] = []
        statuses = set()
        for _ in range(2):
            batch = await endpoint.create(ROWS)
            await anyio.sleep(1)
            batch = await endpoint.batch(batch["id"])
            answers, errors = [
                await endpoint.lines(batch[name]) for name in ("output_file_id", "error_file_id")
            ]
            assert batch["status"] == "completed"
            assert batch["request_counts"] == {
                "total": 100,
                "completed": len(answers),
                "failed": len(errors),
            }
            assert {*answers, *errors} == set(IDS)
            for line in errors.values():
                response = line["response"]
                assert (response is None) != (line["error"] is None)
                statuses.add(response["status_code"] if response else line["error"]["code"])
                assert response is None or response["body"]["error"]["message"]
            failed.append(sorted(errors))
        assert statuses == {429, 500, 503, "request_timeout"}
        assert 20 < len(failed[0]) < 60
        assert failed[0] != failed[1]

    in_virtual_time(main, batch_failures=0.4)


def test_a_request_that_is_invalid_or_streams_is_a_400_in_the_error_file() -> None:
    async def main(endpoint: Endpoint) -> None:
        chat = line_of("x")["body"]
        lines = [
            line_of("stream", **chat, stream=True),
            line_of("tokens", **chat, max_tokens=0),
            line_of("good"),
        ]
        batch = await endpoint.create(content_of(lines))
        await anyio.sleep(1)
        batch = await endpoint.batch(batch["id"])
        errors = await endpoint.lines(batch["error_file_id"])
        found = {name: line["response"]["body"]["error"]["param"] for name, line in errors.items()}
        assert found == {"stream": "stream", "tokens": "max_tokens"}
        assert {line["response"]["status_code"] for line in errors.values()} == {400}
        assert list(await endpoint.lines(batch["output_file_id"])) == ["good"]

    in_virtual_time(main)


def test_a_batch_with_requests_that_are_late_expires_with_what_was_done() -> None:
    async def main(endpoint: Endpoint) -> None:
        batch = await endpoint.create(ROWS)
        await anyio.sleep(1)
        batch = await endpoint.batch(batch["id"])
        assert (batch["status"], batch["completed_at"]) == ("expired", None)
        assert batch["expired_at"] == batch["created_at"] + 1
        answers, errors = [await endpoint.lines(batch[name]) for name in ("output_file_id", "error_file_id")]
        assert {*answers, *errors} == set(IDS)
        assert len(answers) == batch["request_counts"]["completed"] < 100
        assert batch["request_counts"]["failed"] == 0
        assert {line["error"]["code"] for line in errors.values()} == {"batch_expired"}
        assert all(line["response"] is None for line in errors.values())

    in_virtual_time(main, batch_expire=0.2)


@pytest.mark.parametrize("after", [0.0, 50.0, 95.0])
def test_a_cancelled_batch_keeps_what_was_done(after: float) -> None:
    async def main(endpoint: Endpoint) -> None:
        batch = await endpoint.create(ROWS)
        await anyio.sleep(after)
        for _ in range(2):
            batch = await endpoint.json("POST", f"/batches/{batch['id']}/cancel")
            assert (batch["status"], batch["output_file_id"]) == ("cancelling", None)
        done = batch["request_counts"]["completed"]
        assert done == {0.0: 0, 50.0: 50, 95.0: 100}[after]
        await anyio.sleep(10)
        batch = await endpoint.batch(batch["id"])
        assert (batch["status"], batch["cancelled_at"]) == ("cancelled", batch["cancelling_at"] + 10)
        answers, errors = [await endpoint.lines(batch[name]) for name in ("output_file_id", "error_file_id")]
        assert len(answers) == done
        assert len(errors) == (0 if after == 0 else 100 - done)
        assert {line["error"]["code"] for line in errors.values()} <= {"batch_cancelled"}
        refused = await endpoint.json("POST", f"/batches/{batch['id']}/cancel", 409)
        assert refused["error"]["message"] == "Cannot cancel a batch with status 'cancelled'."

    in_virtual_time(main, batch_time=100.0)


def test_what_was_executed_and_billed_is_counted_by_id_also_if_nobody_asks() -> None:
    async def main(endpoint: Endpoint) -> None:
        for _ in range(2):
            await endpoint.create(ROWS)
        await anyio.sleep(1)
        counts = await endpoint.json("GET", "http://endpoint.test/headrace/counts")
        requests = await endpoint.json("GET", "http://endpoint.test/headrace/batch-requests")
        found = counts["batches"]
        assert (counts["requests"], counts["by_status"]) == (0, {})
        assert (found["requests"], found["files"], found["batches"]) == (4, 2, 2)
        assert set(requests) <= set(IDS)
        assert sum(each["executed"] for each in requests.values()) == found["executed"] < 200
        assert sum(each["billed"] for each in requests.values()) == found["billed"] < found["executed"]
        listed = (await endpoint.json("GET", "/batches"))["data"]
        for kind in ("input_tokens", "output_tokens"):
            assert found[kind] == sum(batch["usage"][kind] for batch in listed) > 0

    in_virtual_time(main, batch_failures=0.2, batch_expire=0.2)


@pytest.mark.anyio
async def test_requests_at_once_execute_no_request_twice_and_others_are_answered_meanwhile() -> None:
    transport = httpx.ASGITransport(create_app(Behaviour(batch_time=0)))
    async with httpx.AsyncClient(transport=transport, base_url="http://endpoint.test/v1") as http:
        endpoint, ended = Endpoint(http), []
        await endpoint.create(content_of(line_of(f"{n}") for n in range(1200)))

        async def ask(path: str) -> None:
            await endpoint.json("GET", path)
            ended.append(path)

        async with anyio.create_task_group() as tasks:
            for path in ("/batches", "/files", "http://endpoint.test/headrace/counts", "/models"):
                tasks.start_soon(ask, path)
        counts = (await endpoint.json("GET", "http://endpoint.test/headrace/counts"))["batches"]
    assert ended[0] == "/models"
    assert (counts["executed"], counts["billed"]) == (1200, 1200)


def test_quirks_change_the_answers_and_never_break_the_lines() -> None:
    async def main(endpoint: Endpoint) -> None:
        batch = await endpoint.create(content_of([line_of("a")]))
        await anyio.sleep(1)
        batch = await endpoint.batch(batch["id"])
        content = (await endpoint.http.get(f"/files/{batch['output_file_id']}/content")).content
        bodies.append(json.loads(content)["response"]["body"])

    bodies: list[Any] = []
    for quirk in ("think-block", "html-page", "null-counts", "byte-order-mark", "half-surrogate"):
        in_virtual_time(main, quirks=[quirk])
    thinking, page, uncounted, marked, surrogate = bodies
    assert thinking["choices"][0]["message"]["content"].startswith("<think>")
    assert page.startswith("<html>")
    assert set(uncounted["usage"].values()) == {None}
    assert marked.startswith("\ufeff")
    assert surrogate["choices"][0]["message"]["content"].endswith("\ud83d")
