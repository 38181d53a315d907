"""HTTP/2 connections that are slow, silent or shared: windows, uploads, timeouts, PINGs, cancellation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.transports.http2.http2_server import (
    DATA,
    END_STREAM,
    WINDOW_UPDATE,
    Http2Peer,
    answered,
    frame,
    head,
    number,
    reset,
    settings,
)

from headrace import CallTimeout, ConnectError, IncompleteReply, Timeout
from headrace.transports.http2 import liveness

if TYPE_CHECKING:
    from tests.transports.conftest import Connect, Peer, Serve

    from headrace import Client

pytestmark = pytest.mark.anyio

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


async def small_calls(client: Client, count: int) -> None:
    async with anyio.create_task_group() as group:

        async def call(number: int) -> None:
            reply = await client.request("POST", f"/{number}", {})
            assert reply.body == {"target": f"/v1/{number}"}

        for number in range(count):
            group.start_soon(call, number)


async def assert_sound(client: Client) -> None:
    await small_calls(client, 2)
    assert client.in_flight == 0


async def test_an_unread_response_does_not_block_others(serve: Serve, connect: Connect) -> None:
    """8 MB of a stream whose reader waits, beside 300 small responses on the same connection."""
    body = (CHUNK % (b"x" * 8000)) * 1000 + LAST
    sent = 0
    talks: list[Http2Peer] = []

    async def script(peer: Peer) -> None:
        nonlocal sent
        talk = await Http2Peer(peer).begin()
        talks.append(talk)
        request = await talk.request()
        assert request is not None
        await talk.send(head(request.stream))
        rest = body
        window = 1024 * 1024  # as the client's SETTINGS say
        while True:
            while rest and window >= 16_000:
                piece, rest = rest[:16_000], rest[16_000:]
                await talk.send(frame(DATA, 0, request.stream, piece))
                window -= len(piece)
                sent += len(piece)
            if not rest:
                await talk.send(frame(DATA, END_STREAM, request.stream))
                break
            before = talk.windows.get(request.stream, 0)
            if not await talk.more():
                return
            window += talk.windows.get(request.stream, 0) - before
            while talk.whole:
                await talk.answer(talk.whole.popleft())
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True, max_in_flight=400) as client:
        async with client.stream("Hallo") as stream:
            text = (await anext(stream)).text
            for _ in range(3):
                await small_calls(client, 90)
            assert sent < 2_000_000
            async for piece in stream:
                text += piece.text
        assert len(text) == 8000 * 1000
        await assert_sound(client)
        assert server.accepted == 1


@pytest.mark.parametrize("window", [None, 20_000])
async def test_a_large_upload_does_not_block_small_requests(
    serve: Serve, connect: Connect, window: int | None
) -> None:
    """Also if the server opens its windows slowly."""
    size = 8_000_000
    small_first = anyio.Event()

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer, window=window, accepts=False).begin()
        await talk.widen(50_000_000)
        await talk.until(lambda: len(talk.whole) == 50)
        while talk.whole:
            await talk.answer(talk.whole.popleft())
        small_first.set()
        (large,) = (request for request in talk.by_stream.values() if not request.whole)
        step = 300_000
        while not large.whole:
            await talk.widen(step, large.stream)
            if not await talk.more():
                return
        talk.whole.clear()
        await talk.answer(large, b'{"size":%d}' % len(large.body))
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True, max_in_flight=60) as client:
        async with anyio.create_task_group() as group:

            async def upload() -> None:
                reply = await client.request(
                    "POST", "/large", {"text": "x" * size}, timeout=Timeout(30, read=5)
                )
                assert reply.body["size"] > size

            group.start_soon(upload)
            await server.until(lambda: server.accepted == 1)
            group.start_soon(small_calls, client, 50)
            await small_first.wait()
        await assert_sound(client)
        assert server.accepted == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", ["413", "401", "200"])
@pytest.mark.parametrize("write", [None, 5.0])
async def test_a_response_that_arrives_before_the_request_is_sent_counts(
    serve: Serve, connect: Connect, status: str, write: float | None, streamed: bool
) -> None:
    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer, accepts=False).begin()
        await talk.widen(1_000_000)
        await talk.until(lambda: bool(talk.by_stream))
        body = CHUNK % b"a" + LAST if streamed and status == "200" else b'{"error":{"message":"no"}}'
        body = body if streamed or status != "200" else b"{}"
        await talk.send(head(1, status=status), frame(DATA, END_STREAM, 1, body), reset(1, 0))
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        large, timeout = "x" * 5_000_000, Timeout(5, write=write)
        if status == "200":
            if streamed:
                async with client.stream(large, timeout=timeout) as stream:
                    assert (await anext(stream)).text == "a"
            else:
                assert (await client.request("POST", "/a", {"text": large}, timeout=timeout)).body == {}
        elif streamed:
            with pytest.raises(Exception, match=status):
                async with client.stream(large, timeout=timeout) as stream:
                    await anext(stream)
        else:
            with pytest.raises(Exception, match=status):
                await client.request("POST", "/a", {"text": large}, timeout=timeout)
        await assert_sound(client)
        assert server.accepted == 1


async def silent(talk: Http2Peer, stream: int) -> None:
    """Send nothing."""


async def silent_in_the_body(talk: Http2Peer, stream: int) -> None:
    await talk.send(head(stream), frame(DATA, 0, stream, b"{"))


async def drip(talk: Http2Peer, stream: int) -> None:
    await talk.send(head(stream))
    while not talk.resets:
        await talk.send(frame(DATA, 0, stream, b"x"))
        with anyio.move_on_after(0.02):
            await talk.more()


@pytest.mark.parametrize(
    ("script", "timeout", "phase", "message"),
    [
        (silent, Timeout(0.15), "total", "within 0.15 s"),
        (silent, Timeout(5, read=0.15), "read", "silent for 0.15 s"),
        (silent, Timeout(None, read=0.15), "read", "silent for 0.15 s"),
        (silent, Timeout(0.15, write=5, read=5), "total", "within 0.15 s"),
        (silent_in_the_body, Timeout(5, read=0.15), "read", "silent for 0.15 s"),
        (silent_in_the_body, Timeout(0.15), "total", "within 0.15 s"),
        (drip, Timeout(0.3), "total", "within 0.3 s"),
        (drip, Timeout(0.3, read=0.2), "total", "within 0.3 s"),
    ],
)
async def test_a_stall_ends_one_call_at_the_earliest_timeout(
    serve: Serve, connect: Connect, script: Any, timeout: Timeout, phase: str, message: str
) -> None:
    resets: list[dict[int, int]] = []

    async def play(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        resets.append(talk.resets)
        request = await talk.request()
        assert request is not None
        await script(talk, request.stream)
        await talk.answer_all()

    async with serve(play) as server, connect(server, http2=True) as client:
        with anyio.fail_after(3), pytest.raises(CallTimeout, match=message) as caught:
            await client.request("POST", "/a", {}, timeout=timeout)
        assert caught.value.phase == phase
        assert caught.value.retryable
        await assert_sound(client)
        assert resets == [{1: 8}]
        assert server.accepted == 1


async def test_a_head_restarts_the_silence_timeout(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        await talk.request()
        for sent in (head(1), frame(DATA, 0, 1, b"{"), frame(DATA, END_STREAM, 1, b"}")):
            await anyio.sleep(0.3)
            await talk.send(sent)
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        await client.request("POST", "/a", {}, timeout=Timeout(5, read=0.5))
        await assert_sound(client)


async def test_a_stalled_stream_ends_alone(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        await talk.request()
        await talk.send(head(1), frame(DATA, 0, 1, CHUNK % b"a"))
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        async with client.stream("Hallo", timeout=Timeout(stall=0.1)) as stream:
            assert (await anext(stream)).text == "a"
            with pytest.raises(CallTimeout, match="stopped sending") as caught:
                await anext(stream)
        assert caught.value.phase == "stall"
        await assert_sound(client)
        assert server.accepted == 1


async def test_received_parts_come_before_the_error(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        await talk.request()
        await talk.send(head(1), frame(DATA, 0, 1, CHUNK % b"a" + CHUNK % b"b"), reset(1, 2))
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        texts = []
        with pytest.raises(IncompleteReply, match="INTERNAL_ERROR"):  # noqa: PT012
            async with client.stream("Hallo") as stream:
                async for piece in stream:
                    texts.append(piece.text)  # noqa: PERF401 - an error follows
        assert texts == ["a", "b"]
        await assert_sound(client)


@pytest.mark.parametrize("idle", [False, True])
async def test_a_connection_that_answers_no_ping_is_closed(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    monkeypatch.setattr(liveness, "PING_AFTER", 0.1)
    monkeypatch.setattr(liveness, "PING_TIMEOUT", 0.1)

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        if peer.number == 0:
            request = await talk.request()
            assert request is not None
            if idle:
                await talk.answer(request)
            while await peer.more():  # read, and answer nothing
                pass
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        if idle:
            await client.request("POST", "/a", {})
        else:
            with pytest.raises(ConnectError, match="no reply to a PING") as caught:
                await client.request("POST", "/a", {})
            assert caught.value.retryable
        await server.until(lambda: server.open == 0)
        await assert_sound(client)


async def test_a_ping_that_is_answered_keeps_the_connection(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PING_AFTER", 0.05)
    monkeypatch.setattr(liveness, "PING_TIMEOUT", 0.5)
    pings = 0

    async def script(peer: Peer) -> None:
        nonlocal pings
        talk = await Http2Peer(peer).begin()
        request = await talk.request()
        assert request is not None
        while pings < 2:
            assert await talk.more()
            pings = talk.asked_pings
        await talk.answer(request)
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        await client.request("POST", "/a", {})
        await assert_sound(client)
        assert server.accepted == 1


async def test_a_blocked_loop_does_not_count_as_a_missed_ping(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "PING_AFTER", 0.2)
    monkeypatch.setattr(liveness, "PING_TIMEOUT", 0.2)

    async def script(peer: Peer) -> None:
        await (await Http2Peer(peer).begin()).answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        await assert_sound(client)
        for _ in range(3):
            time.sleep(0.5)  # noqa: ASYNC251 - another task computes for too long
            await assert_sound(client)
        assert server.accepted == 1


async def test_a_cancelled_call_resets_only_its_stream(serve: Serve, connect: Connect) -> None:
    """Frames that cross the reset are ignored."""
    resets: list[dict[int, int]] = []
    begun = anyio.Event()

    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer).begin()
        resets.append(talk.resets)
        first, other = await talk.some(2)
        if first.target != "/v1/cancelled":
            first, other = other, first
        await talk.send(head(first.stream), frame(DATA, 0, first.stream, b'{"a'))
        await talk.drained()
        begun.set()
        await talk.until(lambda: first.stream in talk.resets)
        await talk.send(
            frame(DATA, 0, first.stream, b"late"),
            frame(DATA, END_STREAM, first.stream, b"later"),
            reset(first.stream, 8),
            frame(WINDOW_UPDATE, 0, first.stream, number(9)),
            answered(other.stream, b'{"target":"/v1/other"}'),
        )
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        replies: list[Any] = []
        async with anyio.create_task_group() as group, anyio.create_task_group() as others:
            scope = anyio.CancelScope()

            async def cancelled() -> None:
                with scope:
                    await client.request("POST", "/cancelled", {})
                assert scope.cancelled_caught

            async def other() -> None:
                replies.append((await client.request("POST", "/other", {})).body)

            group.start_soon(cancelled)
            others.start_soon(other)
            await begun.wait()
            scope.cancel()
        assert replies == [{"target": "/v1/other"}]
        assert list(resets[0].values()) == [8]
        await assert_sound(client)
        assert server.accepted == 1


async def test_a_window_that_shrinks_below_zero_only_waits(serve: Serve, connect: Connect) -> None:
    async def script(peer: Peer) -> None:
        talk = await Http2Peer(peer, accepts=False).begin()
        await talk.until(lambda: bool(talk.by_stream) and len(talk.by_stream[1].body) >= 65_000)
        await talk.send(settings(4, 0))
        await talk.drained()
        for _ in range(5):
            await talk.widen(40_000)
            await talk.widen(40_000, 1)
            await talk.drained()
        await talk.until(lambda: talk.by_stream[1].whole)
        await talk.send(settings(4, 60_000))
        await talk.answer_all()

    async with serve(script) as server, connect(server, http2=True) as client:
        await client.request("POST", "/a", {"text": "x" * 100_000})
        assert len(server.requests[0].body) > 100_000
        await assert_sound(client)
