"""A streamed response of any kind arrives as it is sent; one that is read as a whole has a size limit."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import aclosing
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from headrace import Call, Reply, Send, Stage, StreamResult
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_retry import Retry

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve

Through = Callable[..., Any]

pytestmark = pytest.mark.anyio

# About the libraries' own generators, which an error leaves open.
leaves_generators = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

over = pytest.mark.parametrize("over", [{}, {"http2": True}], ids=["native", "library"])

JSON, AUDIO, SSE = (
    f"Content-Type: {kind}" for kind in ("application/json", "audio/mpeg", "text/event-stream")
)
CHUNKED = "Transfer-Encoding: chunked"
COMPLETION = json.dumps(
    {
        "model": "m",
        "choices": [{"message": {"role": "assistant", "content": "Gruss"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 4},
    }
).encode()
USAGE_EVENT = b'{"model":"m","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":4}}'


class Watch:
    """A policy that records how calls end; streams end with their body."""

    name = "watch"
    stage = Stage.OBSERVE

    def __init__(self) -> None:
        self.endings: list[StreamResult] = []

    def wrap(self, send: Send) -> Send:
        async def watch(call: Call) -> Reply:
            if call.streamed:
                call.add_done_callback(self.endings.append)
            return await send(call)

        return watch

    @property
    def seen(self) -> list[tuple[bool, str]]:
        return [(ending.complete, type(ending.error).__name__) for ending in self.endings]


def chunked(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@over
@pytest.mark.parametrize("kind", [JSON, AUDIO, SSE, "X-None: 1"])
async def test_a_body_of_any_kind_arrives_as_it_is_sent(
    serve: Serve, through: Through, kind: str, over: dict[str, Any]
) -> None:
    arrived = anyio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(f"HTTP/1.1 200 OK\r\n{kind}\r\n{CHUNKED}\r\n\r\n".encode() + chunked(b"first"))
            await arrived.wait()
            await peer.send(chunked(b"second") + b"0\r\n\r\n")

    watch = Watch()
    async with serve(script) as server, through(policies=[watch], **over) as client:
        for _ in range(2):
            async with client.stream("POST", f"{server.url}/speech", json={"model": "m"}) as response:
                parts = response.aiter_raw()
                assert await anext(parts) == b"first"
                assert watch.endings == []
                arrived.set()
                assert [part async for part in parts] == [b"second"]
            assert watch.seen == [(True, "NoneType")]
            watch.endings.clear()
        assert server.accepted == 1


@over
async def test_a_body_has_its_content_length(serve: Serve, through: Through, over: dict[str, Any]) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(b"12345", AUDIO)

    async with serve(script) as server, through(**over) as client:
        async with client.stream("GET", f"{server.url}/file") as response:
            assert (response.headers["content-length"], await response.aread()) == ("5", b"12345")
        assert (await client.get(f"{server.url}/file")).headers["content-length"] == "5"
        assert (await client.head(f"{server.url}/file")).headers["content-length"] == "5"


@over
@leaves_generators
async def test_only_responses_read_as_a_whole_have_a_limit(
    serve: Serve, through: Through, library: ModuleType, monkeypatch: pytest.MonkeyPatch, over: dict[str, Any]
) -> None:
    monkeypatch.setenv("HEADRACE_MAX_RESPONSE_BYTES", "100000")
    size = 1_000_000

    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            status = "500 No" if seen.target.endswith("/failed") else "200 OK"
            length = CHUNKED if seen.target.endswith("/chunked") else f"Content-Length: {size}"
            await peer.send(f"HTTP/1.1 {status}\r\n{JSON}\r\n{length}\r\n\r\n".encode())
            body = b"{" * size
            await peer.send(chunked(body) + b"0\r\n\r\n" if length == CHUNKED else body)

    async with serve(script) as server, through(**over) as client:
        for path in ("file", "chunked"):
            async with client.stream("GET", f"{server.url}/{path}") as response:
                assert sum([len(part) async for part in response.aiter_bytes()]) == size
            with pytest.raises(library.ReadError, match=r"max_response_bytes=100000; read it as a stream"):
                await client.get(f"{server.url}/{path}")
            # A stream for the endpoint, read as a whole here.
            with pytest.raises(library.ReadError, match="max_response_bytes=100000"):
                await client.post(f"{server.url}/{path}", json={"model": "m", "stream": True})
        # An error is read as a whole; its status is enough.
        async with client.stream("GET", f"{server.url}/failed") as response:
            assert response.status_code == 500
            assert b"max_response_bytes=100000" in await response.aread()
        async with client.stream("GET", f"{server.url}/file") as response:
            assert await anext(response.aiter_bytes())


@over
@pytest.mark.parametrize("coding", ["gzip", "deflate", "Identity", ""])
async def test_an_encoded_stream_is_decoded_as_it_arrives(
    serve: Serve, through: Through, coding: str, over: dict[str, Any]
) -> None:
    encoder = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}.get(coding, 15))
    plain = coding not in {"gzip", "deflate"}
    first = b"data: 1\n\n"
    last = b"data: %b\n\ndata: [DONE]\n\n" % USAGE_EVENT
    encoded = first if plain else encoder.compress(first) + encoder.flush(zlib.Z_SYNC_FLUSH)
    rest = last if plain else encoder.compress(last) + encoder.flush()
    arrived = anyio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(
                f"HTTP/1.1 200 OK\r\n{SSE}\r\nContent-Encoding: {coding}\r\n{CHUNKED}\r\n\r\n".encode()
            )
            await peer.send(chunked(encoded))
            await arrived.wait()
            await peer.send(chunked(rest) + b"0\r\n\r\n")

    cost = Cost(prices={"m": {"input": 1, "output": 2}})
    async with serve(script) as server, through(policies=[cost], **over) as client:
        for _ in range(2):
            body = {"model": "m", "stream": True}
            async with client.stream("POST", f"{server.url}/a", json=body) as response:
                parts = response.aiter_bytes()
                assert await anext(parts) == first
                arrived.set()
                assert b"".join([part async for part in parts]) == last
                assert "content-encoding" not in response.headers
        assert server.accepted == 1
    assert (cost.totals.calls, cost.totals.prompt_tokens) == (2, 20)


@over
async def test_an_encoded_download_may_have_any_size_but_each_packet_has_a_limit(
    serve: Serve,
    through: Through,
    library: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    over: dict[str, Any],
) -> None:
    monkeypatch.setenv("HEADRACE_MAX_RESPONSE_BYTES", "1000000")
    encoder = zlib.compressobj(wbits=31)
    part = b"".join(b"%d\n" % number for number in range(60_000))
    small = [encoder.compress(part) + encoder.flush(zlib.Z_SYNC_FLUSH) for _ in range(10)]
    bomb = gzip.compress(gzip.compress(bytes(100_000_000)))

    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            coding = "gzip, gzip" if seen.target.endswith("/bomb") else "gzip"
            await peer.send(f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n{CHUNKED}\r\n\r\n".encode())
            for piece in [bomb] if seen.target.endswith("/bomb") else [*small, encoder.flush()]:
                for at in range(0, len(piece), 50_000):
                    await peer.send(chunked(piece[at : at + 50_000]))
            await peer.send(b"0\r\n\r\n")

    async with serve(script) as server, through(**over) as client:
        async with client.stream("GET", f"{server.url}/file") as response:
            assert sum([len(piece) async for piece in response.aiter_bytes()]) == len(part) * 10
        with pytest.raises(library.ReadError, match="decompressed"):
            async with client.stream("GET", f"{server.url}/bomb") as response:
                await response.aread()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (JSON, COMPLETION),
        (JSON, b" \n\n" + COMPLETION),
        ("Content-Type: application/json; charset=utf-8", COMPLETION),
        ("X-None: 1", COMPLETION),
        (SSE, b"data: %b\n\ndata: [DONE]\n\n" % USAGE_EVENT),
        ("Content-Type: Text/Event-Stream; charset=utf-8", b"data: %b\n\ndata: [DONE]\n\n" % USAGE_EVENT),
        (JSON, b"\xef\xbb\xbfdata: %b\n\ndata: [DONE]\n\n" % USAGE_EVENT),
        ("Content-Type: text/plain", b": hold on\n\ndata: %b\n\ndata: [DONE]\n\n" % USAGE_EVENT),
    ],
)
async def test_the_cost_of_a_stream_is_recorded_once_at_its_end(
    serve: Serve, through: Through, kind: str, body: bytes, *, whole: bool
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(f"HTTP/1.1 200 OK\r\n{kind}\r\n{CHUNKED}\r\n\r\n".encode())
            for piece in [body] if whole else [body[at : at + 1] for at in range(len(body))]:
                await peer.send(chunked(piece))
            await peer.send(b"0\r\n\r\n")

    cost = Cost(prices={"m": {"input": 1, "output": 2}})
    async with serve(script) as server, through(policies=[cost]) as client:
        async with client.stream("POST", f"{server.url}/chat/completions", json={"model": "m"}) as response:
            assert cost.totals.calls == 0
            assert await response.aread() == body
        assert (cost.totals.calls, cost.totals.prompt_tokens, cost.totals.completion_tokens) == (1, 10, 4)
    assert str(cost.totals.cost) == "0.000018"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (JSON, b'{"usage":'),
        (JSON, b"[1, 2]"),
        (JSON, b'{"usage": 7, "model": []}'),
        (JSON, b'{"error": {"message": "no"}}'),
        (JSON, b""),
        (JSON, b" "),
        (SSE, b"\x00" * 1000),
        (SSE, b'data: ["usage"]\n\ndata: {"usage":[],"message":7,"response":{"model":null}}\n\n'),
        (SSE, b'data: {"usage":{"prompt_tokens":"many","completion_tokens_details":[]}}\n\n'),
        (AUDIO, COMPLETION),
        ("Content-Type: \xff", COMPLETION),
    ],
)
async def test_a_body_without_counts_is_passed_on_unchanged(
    serve: Serve, through: Through, kind: str, body: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(body, kind)

    watch = Watch()
    async with serve(script) as server, through(policies=[Cost(), watch]) as client:
        async with client.stream("POST", f"{server.url}/a", json={"model": "m"}) as response:
            assert await response.aread() == body
        assert watch.seen == [(True, "NoneType")]


@over
async def test_a_stream_is_retried_until_its_first_bytes(
    serve: Serve, through: Through, library: ModuleType, over: dict[str, Any]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.answer(b"{}", status="503 Busy")
        elif peer.number in {1, 2}:
            await peer.send(f"HTTP/1.1 200 OK\r\n{AUDIO}\r\nContent-Length: 6\r\n\r\n".encode())
            await peer.send(b"abc" if peer.number == 2 else b"")
        await peer.close()

    watch, breaker = Watch(), Breaker(failure_rate=None, consecutive=9)
    policies = [Retry(attempts=3, base=0.001), watch, breaker]
    async with serve(script) as server, through(policies=policies, max_in_flight=1, **over) as client:
        async with client.stream("POST", f"{server.url}/speech", json={"model": "m"}) as response:
            with pytest.raises(library.RemoteProtocolError, match="before the response was complete"):
                await response.aread()
        assert server.accepted == 3
        assert watch.seen == [(False, "IncompleteReply")]
        with pytest.raises(library.ConnectError):  # the slot is free again
            await client.get(f"{server.url}/a")


@over
@leaves_generators
@pytest.mark.parametrize("how", ["cancelled", "left early", "failed"])
async def test_a_stream_that_is_not_read_to_its_end_releases_everything(
    serve: Serve, through: Through, how: str, over: dict[str, Any]
) -> None:
    async def script(peer: Peer) -> None:
        seen = await peer.request()
        if seen is not None and seen.target.endswith("/speech"):
            await peer.send(f"HTTP/1.1 200 OK\r\n{AUDIO}\r\nContent-Length: 100\r\n\r\nabc".encode())
            await peer.request()  # until it closes
        else:
            await peer.answer()

    watch = Watch()
    async with serve(script) as server, through(policies=[watch], max_in_flight=1, **over) as client:
        with anyio.CancelScope() as scope:
            try:
                async with (
                    client.stream("POST", f"{server.url}/speech", json={"model": "m"}) as response,
                    aclosing(response.aiter_raw()) as parts,
                ):
                    assert await anext(parts) == b"abc"
                    if how == "cancelled":
                        scope.cancel()
                        await anext(parts)
                    if how == "failed":
                        raise ZeroDivisionError
            except ZeroDivisionError:
                assert how == "failed"
        assert scope.cancelled_caught == (how == "cancelled")
        await server.until(lambda: server.open == 0)
        assert len(watch.endings) == 1
        assert not watch.endings[0].complete
        assert not isinstance(watch.endings[0].error, Exception)
        assert (await client.get(f"{server.url}/next", timeout=5)).status_code == 200


@over
@leaves_generators
@pytest.mark.parametrize(
    "last", ["data: [DONE]", 'event: message_stop\ndata: {"a":1}', 'event: response.completed\ndata: {"a":1}']
)
async def test_a_stream_is_complete_with_its_last_event(
    serve: Serve, through: Through, last: str, over: dict[str, Any]
) -> None:
    """The SDKs close it there; its connection is reused."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(f"HTTP/1.1 200 OK\r\n{SSE}\r\n{CHUNKED}\r\n\r\n".encode())
            await peer.send(chunked(f"data: 1\n\n{last}\n\n".encode()))
            await peer.send(b"0\r\n\r\n")

    watch = Watch()
    async with serve(script) as server, through(policies=[watch], **over) as client:
        for _ in range(3):
            body = {"model": "m", "stream": True}
            async with (
                client.stream("POST", f"{server.url}/a", json=body) as response,
                aclosing(response.aiter_raw()) as parts,
            ):
                assert (await anext(parts)).startswith(b"data: 1")
    assert watch.seen == [(True, "NoneType")] * 3
    assert server.accepted == 1


@over
async def test_the_elapsed_time_of_a_response_is_known(
    serve: Serve, through: Through, over: dict[str, Any]
) -> None:
    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            if seen.target.endswith("/moved"):
                await peer.answer(b"", "Location: /v1/a", status="307 Moved")
            elif seen.target.endswith("/failed"):
                await peer.answer(b"{}", status="500 No")
            else:
                await peer.answer(b"{}", JSON)

    async with serve(script) as server, through(**over) as client:
        response = await client.post(f"{server.url}/moved", json={"model": "m"})
        failed = await client.get(f"{server.url}/failed")
        for each in (response, *response.history, failed):
            assert 0 < each.elapsed.total_seconds() < 10
        async with client.stream("GET", f"{server.url}/a") as streamed:
            with pytest.raises(RuntimeError, match="after the response has been read or closed"):
                streamed.elapsed  # noqa: B018 - it is the library's, and says so
            await streamed.aread()
        assert 0 < streamed.elapsed.total_seconds() < 10
