"""The HTTP/1.1 pool, with calls that begin, end, fail and are cancelled in any order; over real sockets."""

from __future__ import annotations

import contextlib
import math
import os
import socket
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace import CallError, Client, Timeout
from headrace.transports import native
from headrace.transports.http1.connection_pool import Http1Pool
from headrace.transports.sockets.watched_socket import ConnectedSocket

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, RawServer, Serve

PLACES = 3
OK = b"HTTP/1.1 200 OK\r\n"
ENDS = ["answer", "close", "fin", "unasked", "cut", "reset", "rubbish"]
STEPS = st.lists(
    st.one_of(
        st.just(("begin", 0)),
        st.tuples(
            st.sampled_from([*ENDS, "answer", "answer", "cancel", "cancel as it ends"]), st.integers(0, 4)
        ),
        st.tuples(st.just("wait"), st.sampled_from([1, 50, 61])),
    ),
    max_size=40,
)


@attrs.define(eq=False)
class MachineCall:
    """A call, and how the server ends it."""

    number: int
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    go_on: anyio.Event = attrs.field(factory=anyio.Event)
    end: str = "answer"
    begun: bool = False
    over: bool = False


class Pool:
    """Runs steps, and checks the connections after each."""

    def __init__(self) -> None:
        self.calls: dict[int, MachineCall] = {}
        self.streams: list[Any] = []
        self.answered: dict[int, Any] = {}
        self.elapsed = 0.0

    async def script(self, peer: Peer) -> None:
        while seen := await peer.request():
            call = self.calls[int(seen.target.rpartition("/")[2])]
            call.begun = True
            await call.go_on.wait()
            raw: socket.socket = peer.stream.extra(anyio.abc.SocketAttribute.raw_socket)
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                more = os.read(raw.fileno(), 10)
                assert more == b"", "another call uses a connection that is in use"
            body = b'{"number":%d}' % call.number
            if call.end in {"cut", "reset"}:
                await peer.send(OK + b"Content-Length: 99\r\n\r\n" + body)
                await (peer.close() if call.end == "cut" else peer.reset())
                return
            if call.end == "rubbish":
                await peer.send(b"rubbish\r\n\r\n")
            else:
                await peer.answer(body, *(["Connection: close"] if call.end == "close" else []))
            if call.end == "unasked":
                await peer.send(b"HTTP/1.1 408 Too Slow\r\n\r\n")
            elif call.end == "fin":
                await peer.close()
                return
            if call.end in {"close", "unasked", "rubbish"}:
                assert await peer.request() is None, "a call uses a connection that is unusable"
                return

    async def _ask(self, client: Client, call: MachineCall) -> None:
        with call.scope, contextlib.suppress(CallError):
            reply = await client.request("POST", f"/{call.number}", {}, timeout=Timeout(None))
            self.answered[call.number] = reply.body
            assert call.end not in {"cut", "reset", "rubbish"}
        call.over = True
        call.go_on.set()  # if the call was cancelled, the server must notice that its connection is closed

    async def play(self, server: RawServer, client: Client, steps: list[tuple[str, int]]) -> None:
        transport = client._transport
        assert isinstance(transport, native.NativeTransport)
        pool = transport._new_sender(client.endpoints[0])
        assert isinstance(pool, Http1Pool)
        self.pool = pool
        now, adopt = self.pool._now, self.pool.adopt
        self.pool._now = lambda: now() + self.elapsed

        def recorded(connected: ConnectedSocket) -> Any:
            connection = adopt(connected)
            self.streams.append(connection.stream)
            return connection

        self.pool.adopt = recorded  # type: ignore[method-assign]
        async with anyio.create_task_group() as group:
            for step, which in [*steps, *[("answer", 0)] * len(steps)]:
                if step == "begin":
                    call = self.calls[len(self.calls)] = MachineCall(len(self.calls))
                    group.start_soon(self._ask, client, call)
                elif step == "wait":
                    self.elapsed += which
                else:
                    self._end(step, which)
                await self._settle(server, client)
                self._check(client)
        assert all(body == {"number": number} for number, body in self.answered.items())

    def _end(self, step: str, which: int) -> None:
        alive = [call for call in self.calls.values() if not call.over]
        if not alive:
            return
        call = alive[which % len(alive)]
        if step != "cancel" and call.begun:
            call.end = step if step in ENDS else "answer"
            call.go_on.set()
        if "cancel" in step:
            call.scope.cancel()

    async def _settle(self, server: RawServer, client: Client) -> None:
        """Wait until both sides have done their work."""
        for _ in range(2000):
            for _ in range(8):  # anyio.wait_all_tasks_blocked sleeps for long on asyncio
                await anyio.lowlevel.checkpoint()
            alive = [call for call in self.calls.values() if not call.over]
            ending = any(call.go_on.is_set() for call in alive)
            if sum(call.begun for call in alive) == min(PLACES, len(alive)) and not ending:
                return
            await anyio.sleep(0.001)
        raise AssertionError(f"calls are stuck: {alive}")

    def _check(self, client: Client) -> None:
        alive = sum(not call.over for call in self.calls.values())
        in_use, idle = min(PLACES, alive), list(self.pool._idle)
        assert client.in_flight == in_use
        assert len({id(connection.stream) for connection in idle}) == len(idle) <= PLACES
        assert not any(connection.stream.closed for connection in idle)
        still_open = [stream for stream in self.streams if not stream.closed]
        assert len(still_open) == in_use + len(idle), "a connection that has no owner"
        assert {id(connection.stream) for connection in idle} <= {id(stream) for stream in still_open}
        assert all(connection.idle_until < math.inf for connection in idle)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
@example(steps=[("begin", 0)] * 5 + [("fin", 0), ("unasked", 0), ("wait", 61), ("begin", 0), ("cancel", 1)])
def test_no_connection_is_shared_or_lost(serve: Serve, backend: str, steps: list[tuple[str, int]]) -> None:
    async def main() -> None:
        pool = Pool()
        with anyio.fail_after(30):
            async with serve(pool.script) as server:
                async with Client(
                    base_url=server.url, model="m", policies=[], max_in_flight=PLACES
                ) as client:
                    await pool.play(server, client, steps)
                await server.until(lambda: server.open == 0)
        assert all(stream.closed for stream in pool.streams)

    before = len(os.listdir("/proc/self/fd"))
    anyio.run(main, backend=backend)
    assert len(os.listdir("/proc/self/fd")) <= before
