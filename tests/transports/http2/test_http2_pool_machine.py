"""HTTP/2 connections, with calls that begin, end and are cancelled in any order; over real sockets.

Every call ends, and no stream, connection or watched socket is left.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.transports.http2.http2_server import (
    DATA,
    Http2Peer,
    ServerRequest,
    answered,
    frame,
    goaway,
    head,
    reset,
)

from headrace import CallError, Client, Timeout
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, RawServer, Serve

STREAMS = 3
ENDS = ["answer", "reset", "refuse", "half", "broken", "goaway", "goaway before", "close", "abort", "rubbish"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(1, 5)),
        st.tuples(
            st.sampled_from([*ENDS, "answer", "answer", "cancel", "cancel", "cancel as it ends"]),
            st.integers(0, 8),
        ),
        st.tuples(st.just("allow"), st.integers(0, 5)),
    ),
    max_size=40,
)


@attrs.define(eq=False)
class MachineCall:
    """A call, and its stream on the server, if it has one."""

    number: int
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    over: bool = False
    wrong: Any = None


class Machine:
    """Runs steps, and checks the connections after each."""

    def __init__(self) -> None:
        self.calls: list[MachineCall] = []
        self.talks: list[tuple[Http2Peer, Peer]] = []
        self.streams = STREAMS

    async def script(self, peer: Peer) -> None:
        talk = Http2Peer(peer, streams=self.streams)
        self.talks.append((talk, peer))
        try:
            await talk.begin()
            while await talk.more():
                pass
        finally:
            self.talks.remove((talk, peer))

    async def _ask(self, client: Client, call: MachineCall) -> None:
        with call.scope, contextlib.suppress(CallError):
            reply = await client.request("POST", f"/{call.number}", {}, timeout=Timeout(None))
            if reply.body != {"target": f"/v1/{call.number}"}:
                call.wrong = reply.body
        call.over = True

    async def play(self, server: RawServer, client: Client, steps: list[tuple[str, int]]) -> None:
        async with anyio.create_task_group() as group:
            for step, which in steps:
                if step == "begin":
                    for _ in range(which):
                        self.calls.append(MachineCall(len(self.calls)))
                        group.start_soon(self._ask, client, self.calls[-1])
                elif step == "allow":
                    self.streams = which
                    for talk, _ in list(self.talks):
                        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                            await talk.allow(which)
                else:
                    await self._end(step, which)
                await self._settle()
            self.streams = STREAMS
            await self._finish()
        assert not [call.wrong for call in self.calls if call.wrong is not None]

    async def _end(self, step: str, which: int) -> None:
        alive = [call for call in self.calls if not call.over]
        there = [(talk, peer, request) for talk, peer in self.talks for request in talk.whole]
        if step == "cancel" and alive:
            alive[which % len(alive)].scope.cancel()
        elif there:
            talk, peer, request = there[which % len(there)]
            if step == "cancel as it ends":
                (call,) = (call for call in self.calls if request.target == f"/v1/{call.number}")
                call.scope.cancel()
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._say(step, talk, peer, request)

    async def _say(self, step: str, talk: Http2Peer, peer: Peer, request: ServerRequest) -> None:
        stream = request.stream
        talk.whole.remove(request)
        frames = {
            "reset": reset(stream, 8),
            "refuse": reset(stream, 7),
            "half": head(stream) + frame(DATA, 0, stream, b"{") + reset(stream, 2),
            "broken": head(stream, ("connection", "close")),
            "goaway": answered(stream, b'{"target":"%b"}' % request.target.encode()) + goaway(stream),
            "goaway before": goaway(0),
            "rubbish": b"SSH-2.0-x\r\n" + b"x" * 20,
        }
        if step == "close":
            await peer.close()
        elif step == "abort":
            await peer.reset()
        elif step in frames:
            await talk.send(frames[step])
        else:
            await talk.answer(request)

    async def _finish(self) -> None:
        """Answer everything, until every call has ended."""
        for _ in range(500):
            if all(call.over for call in self.calls):
                return
            for talk, _ in list(self.talks):
                with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    if talk.allowed != STREAMS:
                        await talk.allow(STREAMS)
                    while talk.whole:
                        await talk.answer(talk.whole.popleft())
            await self._settle()
        raise AssertionError(f"calls are stuck: {[call.number for call in self.calls if not call.over]}")

    async def _settle(self) -> None:
        """Wait until both sides have done their work; the rest is done later."""
        for _ in range(3):
            for _ in range(8):
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.0005)


def assert_nothing_left(client: Client) -> None:
    transport: Any = client._transport
    assert isinstance(transport, NativeTransport)
    poller = transport._poller
    assert poller is not None
    for sender in transport._senders.values():
        pool: Any = sender._pool  # type: ignore[union-attr]
        assert not pool._waiting
        assert pool._opening == 0
        for connection in pool._connections:
            connection.flush()
            assert connection.active_streams == 0
            assert connection.free_streams == connection._max_streams
            assert not connection._uploads
            assert not connection.draining
        assert set(pool._with_free_streams) <= pool._connections
        assert len(set(pool._with_free_streams)) == len(pool._with_free_streams)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
@example(steps=[("begin", 5), ("goaway", 0), ("begin", 2), ("cancel", 1), ("close", 0)])
@example(steps=[("begin", 1), ("answer", 0), ("begin", 5), ("begin", 5), ("goaway", 0), ("goaway", 1)])
@example(steps=[("begin", 3), ("allow", 0), ("begin", 3), ("cancel", 4), ("allow", 5), ("rubbish", 0)])
def test_every_call_ends_and_nothing_is_left(
    serve: Serve, backend: str, steps: list[tuple[str, int]]
) -> None:
    async def main() -> None:
        machine = Machine()
        with anyio.fail_after(30):
            async with serve(machine.script) as server:
                async with Client(
                    base_url=server.url, model="m", policies=[], max_in_flight=12, http2=True
                ) as client:
                    await machine.play(server, client, steps)
                    assert client.in_flight == 0
                    if machine.calls:
                        await machine._settle()
                        assert_nothing_left(client)
                await server.until(lambda: server.open == 0)

    before = len(os.listdir("/proc/self/fd"))
    anyio.run(main, backend=backend)
    assert len(os.listdir("/proc/self/fd")) <= before
