"""Uploads, lists and downloads of files."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from tests.testing.server.batches.virtual_endpoint import Endpoint, content_of, in_virtual_time, line_of

from headrace.testing.server import Behaviour, create_app
from headrace.testing.server.batches import upload

LONG = bytes(range(256)) * 8192
"""Two MiB: it does not stay in memory."""

PART = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n'
"""The beginning of a form with a field."""


def test_a_file_is_shown_downloaded_and_deleted() -> None:
    async def main(endpoint: Endpoint) -> None:
        file = (await endpoint.upload(LONG, "größe.jsonl")).json()
        assert (file["bytes"], file["filename"], file["purpose"]) == (len(LONG), "größe.jsonl", "batch")
        assert file["expires_at"] - file["created_at"] == 30 * 24 * 3600
        path = f"/files/{file['id']}"
        assert await endpoint.json("GET", path) == file
        whole = await endpoint.http.get(f"{path}/content")
        assert (whole.content, whole.headers["content-length"]) == (LONG, str(len(LONG)))
        assert await endpoint.json("DELETE", path) == {"id": file["id"], "object": "file", "deleted": True}
        for method, gone in (("GET", path), ("GET", f"{path}/content"), ("DELETE", path)):
            refused = await endpoint.json(method, gone, 404)
            assert refused["error"]["message"] == f"No such File object: {file['id']}"
        assert (await endpoint.json("GET", "/files"))["data"] == []

    in_virtual_time(main)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=300000-900000", 300_000, 900_001),
        ("bytes=2000000-", 2_000_000, len(LONG)),
        ("bytes=-5", len(LONG) - 5, len(LONG)),
        ("bytes=5-99999999", 5, len(LONG)),
    ],
)
def test_a_part_of_a_file_is_downloaded(asked: str, start: int, stop: int) -> None:
    async def main(endpoint: Endpoint) -> None:
        file = (await endpoint.upload(LONG)).json()
        found = await endpoint.http.get(f"/files/{file['id']}/content", headers={"range": asked})
        assert (found.status_code, found.content) == (206, LONG[start:stop])
        assert found.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(LONG)}"

    in_virtual_time(main)


def test_a_range_outside_the_file_is_a_416_and_an_unknown_range_is_ignored() -> None:
    async def main(endpoint: Endpoint) -> None:
        file = (await endpoint.upload(b"123")).json()
        path = f"/files/{file['id']}/content"
        refused = await endpoint.http.get(path, headers={"range": "bytes=3-"})
        assert (refused.status_code, refused.headers["content-range"]) == (416, "bytes */3")
        for unknown in ("bytes=0-1,2-2", "lines=1-2", "bytes=-"):
            whole = await endpoint.http.get(path, headers={"range": unknown})
            assert (whole.status_code, whole.content) == (200, b"123")

    in_virtual_time(main)


def test_files_expire() -> None:
    async def main(endpoint: Endpoint) -> None:
        policy = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
        file = (await endpoint.upload(content_of([line_of("a")]), **policy)).json()
        assert file["expires_at"] - file["created_at"] == 3600
        kept = {"anchor": "created_at", "seconds": 7200}
        batch = await endpoint.create(content_of([line_of("a")]), output_expires_after=kept)
        await anyio.sleep(3599)
        await endpoint.json("GET", f"/files/{file['id']}")
        await anyio.sleep(2)
        await endpoint.json("GET", f"/files/{file['id']}", 404)
        output = (await endpoint.batch(batch["id"]))["output_file_id"]
        await endpoint.json("GET", f"/files/{output}")
        await anyio.sleep(3700)
        await endpoint.json("GET", f"/files/{output}/content", 404)

    in_virtual_time(main)


def test_lists_have_pages_orders_and_purposes() -> None:
    async def main(endpoint: Endpoint) -> None:
        content = content_of([line_of("a")])
        ids = [(await endpoint.upload(content)).json()["id"] for _ in range(5)]
        batches = []
        for id in ids[:3]:
            body = {"input_file_id": id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            batches.append((await endpoint.json("POST", "/batches", json=body))["id"])
        await anyio.sleep(1)

        async def pages(path: str, **query: Any) -> list[list[str]]:
            found, more = [], True
            while more:
                page = await endpoint.json("GET", path, params={"limit": 2} | query)
                found.append([each["id"] for each in page["data"]])
                more = page["has_more"]
                assert [page["first_id"], page["last_id"]] == [found[-1][0], found[-1][-1]]
                query["after"] = page["last_id"]
            return found

        newest = ids[::-1]
        assert await pages("/files", purpose="batch") == [
            newest[:2],
            newest[2:4],
            newest[4:],
        ]
        assert await pages("/files", purpose="batch", order="asc") == [ids[:2], ids[2:4], ids[4:]]
        assert sorted(map(len, await pages("/files", purpose="batch_output"))) == [1, 2]
        assert await pages("/batches") == [batches[:0:-1], batches[:1]]
        for wrong in ({"limit": "0"}, {"limit": "x"}, {"after": "file-none"}, {"order": "up"}):
            [param] = wrong
            refused = await endpoint.json("GET", "/files", 400, params=wrong)
            assert refused["error"]["param"] == param
        assert (await endpoint.json("GET", "/batches", 400, params={"limit": "101"}))["error"]

    in_virtual_time(main)


def test_new_files_and_batches_are_late_in_the_lists() -> None:
    async def main(endpoint: Endpoint) -> None:
        batch = await endpoint.create(content_of([line_of("a")]))

        async def listed() -> list[int]:
            return [len((await endpoint.json("GET", path))["data"]) for path in ("/files", "/batches")]

        await anyio.sleep(2.9)
        assert await listed() == [0, 0]
        assert (await endpoint.batch(batch["id"]))["status"] == "completed"
        await anyio.sleep(0.2)
        assert await listed() == [1, 1]
        await anyio.sleep(2)
        assert await listed() == [2, 1]

    in_virtual_time(main, batch_listing_delay=3.0)


@pytest.mark.parametrize(
    ("fields", "name", "message"),
    [
        ({"purpose": "vision"}, "a.jsonl", "Invalid value: 'vision'"),
        ({"purpose": "x" * 2000}, "a.jsonl", "The field 'purpose' is too long."),
        ({}, "a.csv", "Must be .jsonl"),
        ({"expires_after[seconds]": "1"}, "a.jsonl", "must be 3600 to 2592000"),
        ({"expires_after[seconds]": "soon"}, "a.jsonl", "must be an integer"),
    ],
)
def test_an_invalid_upload_is_a_400_and_not_kept(fields: dict[str, str], name: str, message: str) -> None:
    async def main(endpoint: Endpoint) -> None:
        refused = await endpoint.upload(LONG, name, **fields)
        assert refused.status_code == 400
        assert message in refused.json()["error"]["message"]
        assert (await endpoint.json("GET", "/files"))["data"] == []

    in_virtual_time(main)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b"garbage"),
        ("multipart/form-data; boundary=" + "x" * 1000, b""),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ncut'),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n--x--',
        ),
    ],
)
def test_a_body_that_is_not_a_form_with_a_file_is_a_400(content_type: str, body: bytes) -> None:
    async def main(endpoint: Endpoint) -> None:
        headers = {"content-type": content_type}
        await endpoint.json("POST", "/files", 400, content=body, headers=headers)

    in_virtual_time(main)


def test_an_upload_without_a_purpose_is_a_400() -> None:
    async def main(endpoint: Endpoint) -> None:
        refused = await endpoint.json("POST", "/files", 400, files={"file": ("a.jsonl", b"{}")})
        assert refused["error"]["param"] == "purpose"

    in_virtual_time(main)


def test_a_file_over_the_limit_is_a_400_and_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "UPLOAD_LIMIT", len(LONG))

    async def main(endpoint: Endpoint) -> None:
        assert (await endpoint.upload(LONG)).status_code == 200
        refused = await endpoint.upload(LONG + b"x")
        assert (refused.status_code, refused.json()["error"]["message"]) == (400, "File is too large.")

    in_virtual_time(main)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart.multipart", None)

    async def main(endpoint: Endpoint) -> None:
        refused = await endpoint.upload(LONG)
        assert refused.status_code == 501
        assert "pip install 'headrace[cli]'" in refused.json()["error"]["message"]

    in_virtual_time(main)


@pytest.mark.anyio
async def test_an_upload_of_a_client_that_disconnects_is_not_kept() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("the client has disconnected")

    scope = {"type": "http", "method": "POST", "path": "/v1/files", "headers": [], "query_string": b""}
    app = create_app()
    await app(scope, receive, send)
    await app(scope | {"path": "/v1/batches"}, receive, send)
    assert app.counts.batches.by_status == {}


@pytest.mark.anyio
async def test_files_need_the_key_and_unknown_paths_are_a_404() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"{}"

    transport = httpx.ASGITransport(create_app(Behaviour(api_key="sk-x")))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/v1/files")).status_code == 401
        assert (await http.post("/batches", content=body())).status_code == 401
        http.headers["authorization"] = "Bearer sk-x"
        assert (await http.get("/v1/files")).status_code == 200
        assert (await http.get("/batches")).status_code == 200
        for path in ("/v1/files/x/y", "/v1/batches/x/y/z", "/v1/batches/x/results"):
            unknown = await http.get(path)
            assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_url")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/files", "GET, POST"),
        ("/v1/files/x", "GET, DELETE"),
        ("/v1/files/x/content", "GET"),
        ("/v1/batches", "GET, POST"),
        ("/v1/batches/x", "GET"),
        ("/v1/batches/x/cancel", "POST"),
    ],
)
async def test_other_methods_are_a_405_that_names_the_right_ones(path: str, allowed: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app()), base_url="http://test") as http:
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - set(allowed.split(", ")):
            refused = await http.request(method, path)
            assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
            assert refused.json()["error"]["type"] == "invalid_request_error"
