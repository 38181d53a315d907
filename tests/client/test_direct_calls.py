"""Direct calls: bodies that are read in parts, answers of any size, and no policies."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Client, Headers, RateLimited, Reply, Request
from headrace.bulk import DirectCalls
from headrace.calls import content_parts
from headrace.testing import Answer, FakeEndpoint
from headrace.testing.server import Behaviour, endpoint_process
from headrace.transports.httpx import HttpxTransport
from headrace.transports.native import NativeTransport
from headrace_retry import Retry

LINE = b'{"number": 7}\n'
BEFORE = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
)
AFTER = b"\r\n--b--\r\n"


class Form:
    """A form with 1.4 MB in memory, which counts the bytes of its largest part."""

    def __init__(self) -> None:
        self.content = BEFORE + LINE * 100_000 + AFTER
        self.largest = 0

    def __len__(self) -> int:
        return len(self.content)

    def __getitem__(self, part: slice) -> bytes:
        found = self.content[part]
        self.largest = max(self.largest, len(found))
        return found


@pytest.mark.anyio
async def test_a_body_is_read_in_parts_and_an_answer_is_received_in_parts() -> None:
    async with endpoint_process(Behaviour(), tls=True) as endpoint:
        trusting = ssl.create_default_context(cafile=endpoint.authority)
        transports: list[Any] = [
            NativeTransport(ssl_context=trusting, http2=False),
            NativeTransport(ssl_context=trusting, http2=True),
            HttpxTransport(httpx.AsyncClient(verify=trusting)),
        ]
        for transport in transports:
            form, headers = Form(), (("Content-Type", "multipart/form-data; boundary=b"),)
            client = Client(base_url=endpoint.base_url, policies=[], transport=transport)
            async with client:
                calls = DirectCalls(client, client.endpoints[0])
                made = await calls.send(Request(None, "/files", headers=headers), form)
                assert form.largest <= 256 * 1024
                request = Request(None, f"/files/{made.body['id']}/content", "GET")
                async with calls.stream(request) as (_, parts):
                    received = [part async for part in parts]
                assert b"".join(received) == LINE * 100_000


@pytest.mark.anyio
async def test_a_direct_call_is_one_attempt_and_adds_no_model() -> None:
    fake_endpoint = FakeEndpoint(429, Answer(body={"id": "x"}), Answer(body=b"abc"), 429)
    async with fake_endpoint.client(policies=[Retry()], model="m") as client:
        calls = DirectCalls(client, client.endpoints[0])
        with pytest.raises(RateLimited):
            await calls.send(Request({"a": 1}, "/batches"))
        assert (await calls.send(Request({"a": 1}, "/batches"))).body == {"id": "x"}
        assert [dict(request.body or {}) for request in fake_endpoint.attempts] == [{"a": 1}, {"a": 1}]
        async with calls.stream(Request(None, "/files/1/content", "GET")) as (_, parts):
            assert [part async for part in parts] == [b"abc"]
        with pytest.raises(RateLimited):
            async with calls.stream(Request(None, "/files/1/content", "GET")):
                pass


@pytest.mark.anyio
async def test_an_answer_from_elsewhere_is_read_like_that_of_a_call() -> None:
    async with FakeEndpoint().client() as client:
        calls, request = DirectCalls(client, client.endpoints[0]), Request({"model": "m"})
        body = b'{"model":"m","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":3}}'
        reply = calls.read_answer(request, Reply(200, Headers([]), body))
        assert (reply.text, reply.model, reply.usage and reply.usage.prompt_tokens) == ("hi", "m", 3)
        with pytest.raises(RateLimited) as raised:
            calls.read_answer(request, Reply(429, Headers([]), b'{"error":{"message":"slow down"}}'))
        assert raised.value.request is request


@given(size=st.integers(0, 1_000_000))
def test_the_parts_of_a_body_are_the_whole_body(size: int) -> None:
    content = bytes(size)
    assert b"".join(content_parts(content)) == content
