"""Input files that make a batch fail, and limits."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.testing.server.batches.virtual_endpoint import CHAT, Endpoint, content_of, in_virtual_time, line_of

GOOD = line_of("good")


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in line_of("other").items() if key != name}


def errors_of(content: bytes, **behaviour: Any) -> list[tuple[Any, ...]]:
    """The code, the line and the parameter of each error of a batch that failed."""
    found: list[tuple[Any, ...]] = []

    async def main(endpoint: Endpoint) -> None:
        created = await endpoint.create(content)
        await anyio.sleep(0.2)
        batch = await endpoint.batch(created["id"])
        assert (batch["status"], batch["in_progress_at"]) == ("failed", None)
        assert batch["failed_at"] is not None
        assert batch["errors"]["object"] == "list"
        assert all(error["message"] for error in batch["errors"]["data"])
        found.extend((error["code"], error["line"], error["param"]) for error in batch["errors"]["data"])
        refused = await endpoint.json("POST", f"/batches/{batch['id']}/cancel", 409)
        assert "failed" in refused["error"]["message"]
        counts = await endpoint.json("GET", "http://endpoint.test/headrace/counts")
        assert counts["batches"]["executed"] == 0

    in_virtual_time(main, **behaviour)
    return found


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[]", "invalid_json_line", None),
        (b'"\xff"', "invalid_json_line", None),
        (GOOD, "duplicate_custom_id", "custom_id"),
        *[(without(name), "missing_required_parameter", name) for name in GOOD],
        (line_of("x") | {"custom_id": 5}, "invalid_type", "custom_id"),
        (line_of("x") | {"method": "GET"}, "invalid_method", "method"),
        (line_of("x") | {"url": "/v1/embeddings"}, "url_mismatch", "url"),
        (line_of("x", messages=[]), "missing_required_parameter", "body.model"),
        (line_of("x", model="other"), "mismatched_model", "body.model"),
    ],
)
def test_a_line_that_is_wrong_is_named(line: Any, code: str, param: str | None) -> None:
    assert errors_of(content_of([GOOD, b"", line])) == [(code, 3, param)]


def test_all_wrong_lines_up_to_a_hundred_are_named() -> None:
    assert [number for _, number, _ in errors_of(content_of([b"{"] * 300))] == [*range(1, 101)]


@pytest.mark.parametrize(
    ("content", "code", "limit"),
    [
        (b"", "empty_file", {}),
        (b"\n \n", "empty_file", {}),
        (content_of(map(line_of, "abc")), "too_many_tasks", {"batch_max_requests": 2}),
        (content_of(map(line_of, "abc")), "file_too_large", {"batch_max_bytes": 100}),
        (content_of(map(line_of, "abc")), "token_limit_exceeded", {"batch_max_tokens": 8}),
    ],
)
def test_a_file_over_a_limit_is_refused(content: bytes, code: str, limit: dict[str, int]) -> None:
    assert errors_of(content, **limit) == [(code, None, None)]


@pytest.mark.parametrize("limit", [{"batch_max_requests": 3}, {"batch_max_tokens": 9}])
def test_a_file_at_the_limit_is_taken_also_without_a_last_line_end(limit: dict[str, int]) -> None:
    async def main(endpoint: Endpoint) -> None:
        content = content_of(map(line_of, "abc")).rstrip()
        created = await endpoint.create(content)
        await anyio.sleep(1)
        assert (await endpoint.batch(created["id"]))["request_counts"]["completed"] == 3

    in_virtual_time(main, **limit, batch_max_bytes=len(content_of(map(line_of, "abc"))) - 1)


def test_tokens_of_unfinished_batches_of_a_model_count_for_the_limit() -> None:
    async def main(endpoint: Endpoint) -> None:
        content = content_of(map(line_of, "abc"))
        other = content_of([line_of("a", model="n", messages=[{"role": "user", "content": "I am here"}])])
        batches = [await endpoint.create(each) for each in (content, other, content)]
        await anyio.sleep(5)
        found = [await endpoint.batch(batch["id"]) for batch in batches]
        assert [batch["status"] for batch in found] == ["in_progress", "in_progress", "failed"]
        [error] = found[-1]["errors"]["data"]
        assert error["message"].startswith("Enqueued token limit reached for m in organization")
        await anyio.sleep(5)
        again = await endpoint.create(content)
        await anyio.sleep(5)
        assert (await endpoint.batch(again["id"]))["status"] == "in_progress"

    in_virtual_time(main, batch_time=10.0, batch_max_tokens=17)


def test_requests_that_will_fail_have_no_tokens_for_the_limit() -> None:
    async def main(endpoint: Endpoint) -> None:
        created = await endpoint.create(content_of([line_of("a", model="m", messages=[])]))
        await anyio.sleep(1)
        batch = await endpoint.batch(created["id"])
        assert (batch["status"], batch["request_counts"]["failed"]) == ("completed", 1)

    in_virtual_time(main, batch_max_tokens=1)


def test_the_output_of_a_batch_is_no_input_of_another() -> None:
    async def main(endpoint: Endpoint) -> None:
        created = await endpoint.create(content_of([GOOD]))
        await anyio.sleep(1)
        output = (await endpoint.batch(created["id"]))["output_file_id"]
        body = {"input_file_id": output, "endpoint": CHAT, "completion_window": "24h"}
        refused = await endpoint.json("POST", "/batches", 400, json=body)
        assert "the purpose of the file is 'batch_output'" in refused["error"]["message"]

    in_virtual_time(main)


def test_the_input_file_may_be_deleted_while_the_batch_runs() -> None:
    async def main(endpoint: Endpoint) -> None:
        created = await endpoint.create(content_of(map(line_of, "abc")))
        await endpoint.json("DELETE", f"/files/{created['input_file_id']}")
        await anyio.sleep(1)
        assert (await endpoint.batch(created["id"]))["request_counts"]["completed"] == 3

    in_virtual_time(main)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"metadata": {"a": "b" * 513}}, "metadata[...]"),
        ({"metadata": dict.fromkeys(map(str, range(17)), "")}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
    ],
)
def test_a_batch_that_cannot_be_created_is_a_400(members: dict[str, Any], param: str) -> None:
    async def main(endpoint: Endpoint) -> None:
        file = (await endpoint.upload(content_of([GOOD]))).json()
        body = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"} | members
        refused = await endpoint.json("POST", "/batches", 400, json=body)
        assert refused["error"]["param"] == param
        assert (await endpoint.json("GET", "/batches"))["data"] == []
        assert (await endpoint.json("GET", "/batches/batch_none", 404))["error"]["message"]

    in_virtual_time(main)
