"""Requests that an HTTP/2 server has not processed are sent again in the attempt; lost ones are errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.streams.tls import TLSAttribute
from tests.transports.http2.http2_server import DATA, NEVER, Http2Peer, answered, frame, goaway, head, reset

from headrace import CallError, ConnectError, IncompleteReply, ProtocolError, Reply
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.transports.conftest import Connect, Peer, RawServer, Serve, Trust

    from headrace import Client

pytestmark = pytest.mark.anyio

NO_ERROR, INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM, HTTP_1_1_REQUIRED = 0, 2, 8, 11, 13
REFUSED_STREAM = 7
CODES = [*range(14), 99, 0xFFFFFFFF]


async def assert_three_over_two_connections(server: RawServer, client: Client) -> None:
    """Three calls are answered, the second connection takes over, and the first is closed."""
    for number, end in enumerate(await made(client, 3)):
        assert isinstance(end, Reply)
        assert end.body == {"target": f"/v1/{number}"}
    await assert_sound(client)
    assert server.accepted == 2
    await server.until(lambda: server.open == 1)


async def assert_sound(client: Client) -> None:
    """Later calls succeed, and get their own responses."""
    for name in ("x", "y"):
        assert (await client.request("POST", f"/{name}", {})).body == {"target": f"/v1/{name}"}
    assert client.in_flight == 0


async def made(client: Client, count: int) -> list[Reply | CallError]:
    """The results of concurrent calls, in the order of their streams."""
    ends: dict[int, Reply | CallError] = {}

    async def make(number: int) -> None:
        try:
            ends[number] = await client.request("POST", f"/{number}", {})
        except CallError as error:
            ends[number] = error

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(make, number)
    return [ends[number] for number in range(count)]


def first(behave: Callable[[Http2Peer], Awaitable[Any]]) -> Callable[[Peer], Awaitable[None]]:
    """A script: the first connection behaves as given, the others answer everything."""

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        if peer.number == 0:
            await behave(talk)
        else:
            await talk.answer_all()

    return script


@pytest.mark.parametrize("times", [1, 2, 3, 4])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_refused_request_is_sent_again_at_most_three_times(
    serve: Serve, connect: Connect, method: str, times: int
) -> None:
    refused = 0

    async def script(peer: Peer) -> None:
        nonlocal refused
        talk = await Http2Peer(peer).begin()
        async for request in talk.requests():
            if refused < times:
                refused += 1
                await talk.send(reset(request.stream, REFUSED_STREAM))
            else:
                await talk.answer(request)

    async with serve(script) as server, connect(server, http2=True) as client:
        if times < 4:
            reply = await client.request(method, "/a", {} if method == "POST" else None)
            assert reply.body == {"target": "/v1/a"}
            assert reply.attempts == 1
        else:
            with pytest.raises(ConnectError, match="refused the request 4 times") as caught:
                await client.request(method, "/a")
            assert caught.value.retryable
        assert server.targets == ["/v1/a"] * min(times + 1, 4)
        await assert_sound(client)
        assert server.accepted <= times + 1  # it goes where other streams are counted


async def test_a_connection_that_refuses_early_gets_no_more_requests(serve: Serve, connect: Connect) -> None:
    """A server may still count cancelled streams, such as nginx in front of one that sleeps."""

    async def refuse_the_third(talk: Http2Peer) -> None:
        requests = await talk.some(3)
        await talk.send(reset(requests[2].stream, REFUSED_STREAM))
        for one in requests[:2]:
            await talk.answer(one)
        assert await talk.request() is None

    async with serve(first(refuse_the_third)) as server, connect(server, http2=True) as client:
        await assert_three_over_two_connections(server, client)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("when", ["before the head", "after it", "in the body", "after the end"])
async def test_a_reset_ends_one_call(serve: Serve, connect: Connect, code: int, when: str) -> None:
    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        if peer.number == 0:
            one, other = sorted(await talk.some(2), key=lambda request: request.target)
            begun = {
                "before the head": b"",
                "after it": head(one.stream),
                "in the body": head(one.stream) + frame(DATA, 0, one.stream, b"{"),
                "after the end": answered(one.stream),
            }
            await talk.send(begun[when] + reset(one.stream, code))
            await talk.answer(other)
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        end, other = await made(client, 2)
        assert isinstance(other, Reply)
        assert other.body == {"target": "/v1/1"}
        if when == "after the end":
            assert isinstance(end, Reply)
        elif when != "before the head":
            assert type(end) is IncompleteReply
            assert "the request's stream" in str(end)
        elif code == REFUSED_STREAM:
            assert isinstance(end, Reply)
            assert end.body == {"target": "/v1/0"}
        elif code == HTTP_1_1_REQUIRED:
            assert type(end) is ProtocolError
            assert "asks for HTTP/1.1; leave http2 at 'auto'" in str(end)
        else:
            assert type(end) is ConnectError
            assert end.retryable
            assert "the request's stream" in str(end)
        await assert_sound(client)
        moved = when != "after the end" and code == REFUSED_STREAM
        assert server.accepted == 1 + moved


async def test_a_server_that_requires_http1_gets_http1(serve: Serve, connect: Connect, trust: Trust) -> None:
    trusting, context = trust("h2", "http/1.1")

    async def script(peer: Peer) -> None:
        if peer.stream.extra(TLSAttribute.alpn_protocol) == "http/1.1":
            await peer.answer_all()
            return
        talk = await Http2Peer(peer).begin()
        async for request in talk.requests():
            await talk.send(reset(request.stream, HTTP_1_1_REQUIRED))

    transport = NativeTransport(ssl_context=trusting)
    async with serve(script, context) as server, connect(server, transport=transport) as client:
        for end in await made(client, 5):
            assert isinstance(end, Reply)
            assert (end.http_version, end.attempts) == ("HTTP/1.1", 1)
        await assert_sound(client)


@pytest.mark.parametrize("last", [0, 1, 3])
@pytest.mark.parametrize("code", [NO_ERROR, ENHANCE_YOUR_CALM])
@pytest.mark.parametrize("at_once", [True, False])
async def test_goaway_moves_unprocessed_requests(
    serve: Serve, connect: Connect, last: int, code: int, at_once: bool
) -> None:
    """Streams 1, 3 and 5: those up to the last one are answered here, the others elsewhere."""
    moved = anyio.Event()
    streams: dict[str, int] = {}

    async def leave(talk: Http2Peer) -> None:
        requests = await talk.some(3)
        streams.update({one.target: one.stream for one in requests})
        await talk.send(goaway(last, code, b"later"))
        if not at_once:
            await moved.wait()
        for one in requests:
            if one.stream <= last:
                await talk.answer(one)
        assert await talk.request() is None, "a request after GOAWAY"

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        if peer.number == 0:
            await leave(talk)
            return
        async for request in talk.requests():
            await talk.answer(request, b'{"target":"moved"}')
            if len(server.requests) == 6 - (last + 1) // 2:
                moved.set()

    async with serve(script) as server, connect(server, http2=True) as client:
        ends = await made(client, 3)
        for number, end in enumerate(ends):
            assert isinstance(end, Reply)
            processed = streams[f"/v1/{number}"] <= last
            assert end.body == {"target": f"/v1/{number}" if processed else "moved"}
            assert end.attempts == 1
        assert server.accepted == 2
        await server.until(lambda: server.open == 1)


async def test_a_graceful_shutdown_in_two_steps_disturbs_no_call(serve: Serve, connect: Connect) -> None:
    async def leave(talk: Http2Peer) -> None:
        requests = await talk.some(3)
        await talk.send(goaway(NEVER))
        await talk.answer(requests[0])
        await talk.send(goaway(5))
        for one in requests[1:]:
            await talk.answer(one)
        assert await talk.request() is None

    async with serve(first(leave)) as server, connect(server, http2=True) as client:
        await assert_three_over_two_connections(server, client)


@pytest.mark.parametrize(
    ("code", "data", "expected"),
    [
        (NO_ERROR, b"", "closed the connection before it answered"),
        (ENHANCE_YOUR_CALM, b"too_many_pings", r"\(ENHANCE_YOUR_CALM: 'too_many_pings'\)"),
        (INTERNAL_ERROR, b"\xff\0" + b"x" * 1000, r"\(INTERNAL_ERROR: '.{20,120}'\)"),
        (99, b"", r"\(error 99\)"),
    ],
)
async def test_a_close_after_goaway_is_an_error_for_processed_requests(
    serve: Serve, connect: Connect, code: int, data: bytes, expected: str
) -> None:
    processed: list[str] = []

    async def leave(talk: Http2Peer) -> None:
        processed.append((await talk.some(2))[0].target)
        await talk.send(goaway(1, code, data))
        await talk.drained()

    async with serve(first(leave)) as server, connect(server, http2=True) as client:
        for number, end in enumerate(await made(client, 2)):
            if f"/v1/{number}" in processed:
                assert type(end) is ConnectError
                assert end.retryable
                assert re.search(expected, str(end))
            else:
                assert isinstance(end, Reply)
                assert end.body == {"target": f"/v1/{number}"}
        await assert_sound(client)
        assert server.accepted == 2


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("begun", [False, True])
async def test_a_lost_connection_fails_each_of_its_calls(
    serve: Serve, connect: Connect, end: str, begun: bool
) -> None:
    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        if peer.number == 0:
            for request in await talk.some(5):
                if begun:
                    await talk.send(head(request.stream), frame(DATA, 0, request.stream, b"{"))
            await talk.drained()
            await getattr(peer, end)()
        else:
            await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        for failed in await made(client, 5):
            assert type(failed) is (IncompleteReply if begun else ConnectError)
            assert failed.retryable
            assert str(failed).startswith(f"127.0.0.1:{server.port}")
        await assert_sound(client)


async def test_response_and_goaway_in_one_packet_leave_no_call_waiting(
    serve: Serve, connect: Connect
) -> None:
    """The waiting call gets the free stream, on a connection that accepts no more calls."""

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer, streams=1).begin()
        request = await talk.request()
        if request is not None:
            await talk.send(answered(request.stream), goaway(request.stream))

    async with serve(script) as server, connect(server, http2=True, timeout=5.0) as client:
        await client.request("POST", "/first", {})  # so that the number of streams is known
        for end in await made(client, 20):
            assert isinstance(end, Reply)
            assert end.attempts == 1
        assert len(server.requests) == server.accepted == 21
        assert client.in_flight == 0
