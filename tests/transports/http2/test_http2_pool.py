"""How many HTTP/2 connections there are, which streams they carry, and who opens them."""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from anyio.streams.tls import TLSAttribute
from tests.transports.http2.http2_server import PING, Http2Peer, frame, goaway

from headrace import CallTimeout, HeadraceError, Timeout
from headrace.transports.connecting.address import Address
from headrace.transports.http2 import liveness
from headrace.transports.http2.connection_pool import Http2Pool
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.conftest import Connect, Peer, RawServer, Serve, Trust

    from headrace import Client

pytestmark = pytest.mark.anyio


class Gate:
    """A script that answers while the gate is open; it knows the connections."""

    def __init__(self, streams: int | None = 100, *, is_open: bool = True) -> None:
        self.streams = streams
        self.talks: list[Http2Peer] = []
        self._is_open = is_open

    async def __call__(self, peer: Peer) -> None:
        talk = Http2Peer(peer, streams=self.streams)
        self.talks.append(talk)
        await talk.begin()
        going_on = True
        while going_on:
            if self._is_open:
                await self._answer(talk)
            going_on = await talk.more()

    async def open(self) -> None:
        """Answer, also what has already arrived."""
        self._is_open = True
        for talk in self.talks:
            await self._answer(talk)

    def shut(self) -> None:
        """Answer nothing."""
        self._is_open = False

    async def _answer(self, talk: Http2Peer) -> None:
        while talk.whole:
            await talk.answer(talk.whole.popleft())

    @property
    def under_way(self) -> list[int]:
        return [talk.h2.open_inbound_streams for talk in self.talks]


async def made(client: Client, count: int, **keywords: Any) -> Counter[str]:
    """The results of concurrent calls: "ok" or the name of the error."""
    ends: Counter[str] = Counter()

    async def make(number: int) -> None:
        try:
            reply = await client.request("POST", f"/{number}", {}, **keywords)
            assert reply.body == {"target": f"/v1/{number}"}
            assert reply.attempts == 1
            ends["ok"] += 1
        except HeadraceError as error:
            ends[type(error).__name__] += 1

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(make, number)
    return ends


async def drained(server: RawServer, talk: Http2Peer) -> None:
    """Wait until the client has read what this connection has sent so far."""
    pings = talk.pings
    await talk.send(frame(PING, 0, 0, b"received"))
    await server.until(lambda: talk.pings > pings)


def pool_of(client: Client) -> Http2Pool:
    transport = client._transport
    assert isinstance(transport, NativeTransport)
    (sender,) = transport._senders.values()
    pool = sender._pool  # type: ignore[union-attr]
    assert isinstance(pool, Http2Pool)
    return pool


def assert_whole(client: Client) -> None:
    """Nothing is in progress, and no stream is lost or counted twice."""
    pool = pool_of(client)
    assert not pool._waiting
    assert pool._opening == 0
    for connection in pool._connections:
        assert connection.active_streams == 0
        assert connection.free_streams == connection._max_streams
        assert not connection._uploads
    assert client.in_flight == 0


@pytest.mark.parametrize("streams", [1, 7, 100, 1000, None])
async def test_a_connection_carries_as_many_streams_as_the_server_allows(
    serve: Serve, connect: Connect, streams: int | None
) -> None:
    gate = Gate(streams)
    allowed, calls = streams or 100, 210
    async with serve(gate) as server, connect(server, http2=True, max_in_flight=calls) as client:
        await client.request("POST", "/first", {})
        gate.shut()
        async with anyio.create_task_group() as group:
            group.start_soon(made, client, calls)
            await server.until(lambda: len(server.requests) == 1 + calls)
            assert sum(gate.under_way) == calls
            assert max(gate.under_way) <= allowed
            assert server.accepted == -(-calls // allowed)
            await gate.open()
        assert sum(talk.refused for talk in gate.talks) == 0
        assert_whole(client)


async def test_few_streams_and_many_calls_from_a_cold_client(serve: Serve, connect: Connect) -> None:
    """The first connection is assumed to allow 100 streams; refused requests go where there is room."""
    gate = Gate(10)
    async with serve(gate) as server, connect(server, http2=True, max_in_flight=400) as client:
        assert await made(client, 400) == {"ok": 400}
        assert_whole(client)
        assert server.accepted <= 41


async def test_a_changed_stream_limit_is_respected(serve: Serve, connect: Connect) -> None:
    gate = Gate(5)
    async with serve(gate) as server, connect(server, http2=True, max_in_flight=30) as client:
        await client.request("POST", "/first", {})
        gate.shut()
        (talk,) = gate.talks
        async with anyio.create_task_group() as group:
            group.start_soon(made, client, 5)
            await server.until(lambda: len(server.requests) == 6)
            for streams, expected in ((2, -3), (0, -5), (8, 3), (5, 0)):
                await talk.allow(streams)
                await drained(server, talk)
                (connection,) = pool_of(client)._connections
                assert connection.free_streams == expected
            await talk.allow(9)
            await drained(server, talk)
            group.start_soon(made, client, 4)
            await server.until(lambda: len(server.requests) == 10)
            assert server.accepted == 1
            await gate.open()
        assert_whole(client)
        assert talk.refused == 0


async def test_waiting_calls_start_when_streams_are_allowed_again(serve: Serve, connect: Connect) -> None:
    """With a server that allows none for a while, each call starts on its own connection, or waits."""
    gate = Gate(1)
    async with serve(gate) as server, connect(server, http2=True, max_in_flight=10) as client:
        await client.request("POST", "/first", {})
        (talk,) = gate.talks
        await talk.allow(0)
        await drained(server, talk)
        gate.streams = 1
        assert await made(client, 3) == {"ok": 3}
        await talk.allow(100)
        await drained(server, talk)
        assert await made(client, 50) == {"ok": 50}
        assert_whole(client)
        assert server.accepted <= 4


async def test_a_server_that_never_allows_a_stream_is_an_error(serve: Serve, connect: Connect) -> None:
    async with serve(Gate(0)) as server, connect(server, http2=True) as client:
        assert await made(client, 5) == {"ConnectError": 5}
        assert_whole(client)
        assert server.accepted <= 20


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
async def test_one_handshake_finds_out_which_protocol_the_server_speaks(
    serve: Serve, connect: Connect, trust: Trust, protocol: str
) -> None:
    trusting, context = trust(protocol)
    known = anyio.Event()
    spoken: list[str | None] = []

    async def script(peer: Peer) -> None:
        spoken.append(peer.stream.extra(TLSAttribute.alpn_protocol))
        if protocol == "h2":
            talk = await Http2Peer(peer).begin()
            await talk.answer_all()
        else:
            await peer.answer_all()

    connected = Address.connect
    begun = 0

    async def counting(address: Address) -> Any:
        nonlocal begun
        begun += 1
        if begun == 1:
            await known.wait()
        return await connected(address)

    calls = 30
    transport = NativeTransport(ssl_context=trusting)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Address, "connect_nowait", lambda address: None)
        patched.setattr(Address, "connect", counting)
        patched.setattr(Address, "connect_nowait", lambda address: None)
        async with serve(script, context) as server, connect(server, transport=transport) as client:
            async with anyio.create_task_group() as group:
                group.start_soon(made, client, calls)
                while client.in_flight < calls:
                    await anyio.lowlevel.checkpoint()
                await anyio.wait_all_tasks_blocked()
                assert begun == 1
                known.set()
            assert server.accepted == (1 if protocol == "h2" else calls)
            assert set(spoken) == {protocol}
            assert (await client.request("POST", "/a", {})).http_version == (
                "HTTP/2" if protocol == "h2" else "HTTP/1.1"
            )


async def test_a_thousand_calls_at_once_open_ten_connections(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over plain http, where the test's own server has less to do; the test above uses TLS."""
    begun: list[int] = []
    connected = Address.connect

    async def counting(address: Address) -> Any:
        begun.append(len(begun))
        return await connected(address)

    monkeypatch.setattr(Address, "connect_nowait", lambda address: None)
    monkeypatch.setattr(Address, "connect", counting)
    gate = Gate()
    async with serve(gate) as server:
        async with connect(server, http2=True, max_in_flight=1000, timeout=60.0) as client:
            assert await made(client, 1000) == {"ok": 1000}
            assert_whole(client)
        assert len(begun) <= 11
        assert sum(talk.refused for talk in gate.talks) == 0


async def test_http2_true_with_a_server_without_http2_is_an_error(
    serve: Serve, connect: Connect, trust: Trust
) -> None:
    trusting, context = trust("http/1.1")
    transport = NativeTransport(ssl_context=trusting, http2=True)
    async with serve(context=context) as server, connect(server, transport=transport) as client:
        ends = await made(client, 3)
        assert ends == {"TLSError": 3}
        assert server.requests == []


class Doors:
    """The results of the attempts to connect, in order; later ones succeed."""

    def __init__(self, *ends: str | Exception) -> None:
        self.ends = list(ends)
        self.begun = 0
        self.go_on = anyio.Event()
        self._connected = Address.connect

    async def __call__(self, address: Address) -> Any:
        self.begun += 1
        end = self.ends.pop(0) if self.ends else "open"
        if end == "hang":
            await anyio.sleep_forever()
        if end == "wait":
            await self.go_on.wait()
        if isinstance(end, Exception):
            await self.go_on.wait()
            raise end
        return await self._connected(address)


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Doors]:
    def doors(*ends: str | Exception) -> Doors:
        made = Doors(*ends)

        async def connected(address: Address) -> Any:
            return await made(address)

        monkeypatch.setattr(Address, "connect_nowait", lambda address: None)
        monkeypatch.setattr(Address, "connect", connected)
        return made

    return doors


async def waiting(client: Client, count: int) -> None:
    """Wait until this number of calls wait for a connection."""
    pool = pool_of(client)
    with anyio.fail_after(10):
        while len(pool._waiting) < count:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("how", ["cancelled", "its own timeout", "its own connect timeout"])
async def test_a_call_that_opens_a_connection_may_be_cancelled_and_the_others_go_on(
    serve: Serve, connect: Connect, doors: Callable[..., Doors], how: str
) -> None:
    opening = doors("hang")
    own = {"its own timeout": Timeout(0.1), "its own connect timeout": Timeout(5, connect=0.1)}
    async with serve(Gate()) as server, connect(server, http2=True, max_in_flight=50) as client:
        async with anyio.create_task_group() as group:
            opener = anyio.CancelScope()

            async def open_first() -> None:
                with opener:
                    try:
                        await client.request("POST", "/x", {}, timeout=own.get(how, Timeout(5)))
                    except CallTimeout as error:
                        assert error.phase == "connect"  # noqa: PT017 - or it is cancelled

            group.start_soon(open_first)
            while not opening.begun:
                await anyio.lowlevel.checkpoint()
            ends: list[Counter[str]] = []

            async def others() -> None:
                ends.append(await made(client, 20))

            group.start_soon(others)
            await waiting(client, 20)
            if how == "cancelled":
                opener.cancel()
        assert ends == [{"ok": 20}]
        assert_whole(client)
        assert server.accepted == 1


async def test_a_connect_timeout_fails_all_waiting_calls_that_allow_no_more_time(
    serve: Serve, connect: Connect, doors: Callable[..., Doors]
) -> None:
    opening = doors(*["hang"] * 100)
    async with serve() as server, connect(server, http2=True, max_in_flight=50) as client:
        assert await made(client, 50, timeout=Timeout(30, connect=0.1)) == {"CallTimeout": 50}
        assert opening.begun == 1
        assert_whole(client)


@pytest.mark.parametrize("known", [False, True])
async def test_a_refused_connection_fails_the_calls_that_wait_for_it(
    serve: Serve, connect: Connect, doors: Callable[..., Doors], known: bool
) -> None:
    gate = Gate(10)
    async with serve(gate) as server, connect(server, http2=True, max_in_flight=50) as client:
        if known:
            await client.request("POST", "/first", {})
            await gate.talks[0].send(goaway(1))
            await server.until(lambda: server.open == 0)
        opening = doors(*[OSError(errno.ECONNREFUSED, "refused") for _ in range(100)])
        opening.go_on.set()
        assert await made(client, 30) == {"ConnectError": 30}
        assert opening.begun <= (30 if known else 1)
        opening.ends.clear()
        assert await made(client, 30) == {"ok": 30}
        assert_whole(client)


async def test_with_no_file_left_the_streams_of_others_are_used(
    serve: Serve, connect: Connect, doors: Callable[..., Doors]
) -> None:
    gate = Gate(2)
    async with serve(gate) as server, connect(server, http2=True, max_in_flight=60) as client:
        await client.request("POST", "/first", {})
        opening = doors(*[OSError(errno.EMFILE, "none left") for _ in range(100_000)])
        opening.go_on.set()
        assert await made(client, 60) == {"ok": 60}
        assert opening.begun <= 120, "it tries again and again"
        assert server.accepted == 1
        assert_whole(client)


async def test_with_no_file_left_at_all_the_error_says_so(
    serve: Serve, connect: Connect, doors: Callable[..., Doors]
) -> None:
    opening = doors(*[OSError(errno.EMFILE, "none left") for _ in range(100_000)])
    opening.go_on.set()
    async with serve(Gate()) as server, connect(server, http2=True, max_in_flight=60) as client:
        assert await made(client, 60) == {"LocalResourceError": 60}
        assert opening.begun <= 60
        assert_whole(client)


async def test_waiting_for_a_stream_ends_at_the_attempts_timeout(serve: Serve, connect: Connect) -> None:
    """The server allows one stream per connection, and this machine no further connection."""
    gate = Gate(1)
    async with serve(gate) as server, connect(server, http2=True, max_in_flight=10) as client:
        await client.request("POST", "/first", {})
        gate.shut()
        with pytest.MonkeyPatch.context() as patched:

            async def none_left(address: Address) -> Any:
                raise OSError(errno.EMFILE, "none left")

            patched.setattr(Address, "connect_nowait", lambda address: None)
            patched.setattr(Address, "connect", none_left)
            async with anyio.create_task_group() as group:
                group.start_soon(client.request, "POST", "/holds", {})
                await server.until(lambda: len(server.requests) == 2)
                with anyio.fail_after(3), pytest.raises(CallTimeout, match=r"within 0\.1 s") as caught:
                    await client.request("POST", "/late", {}, timeout=0.1)
                assert caught.value.phase == "connect"
                await gate.open()
        assert_whole(client)


async def test_idle_connections_are_closed(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "KEEP_IDLE", 0.05)
    monkeypatch.setattr(liveness, "PING_AFTER", 0.02)
    monkeypatch.setattr(liveness, "PING_TIMEOUT", 0.1)
    gate = Gate()
    async with serve(gate) as server, connect(server, http2=True, max_in_flight=300) as client:
        for _ in range(2):
            assert await made(client, 300) == {"ok": 300}
            await server.until(lambda: server.open == 0)
            assert all(talk.said_goodbye for talk in gate.talks)
            assert pool_of(client).open_count == 0
        assert_whole(client)


async def test_closing_a_client_ends_attempts_in_progress(
    serve: Serve, connect: Connect, open_files: Callable[[], int]
) -> None:
    ends: list[str] = []

    async def call(client: Client) -> None:
        with pytest.raises(HeadraceError) as caught:
            await client.request("POST", "/a", {})
        ends.append(str(caught.value))

    gate = Gate(2, is_open=False)
    async with serve(gate) as server:
        before = open_files()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group, connect(server, http2=True) as client:
                for _ in range(5):
                    group.start_soon(call, client)
                await server.until(lambda: len(server.requests) >= 4)
        assert len(ends) == 5
        assert all("close" in end for end in ends)
        await server.until(lambda: server.open == 0)
        await anyio.wait_all_tasks_blocked()
        assert open_files() <= before
