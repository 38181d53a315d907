"""A byte stream alone, over a pair of sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable

import anyio
import pytest

from headrace.transports.event_loops.poller import Poller
from headrace.transports.sockets.byte_stream import ByteStream
from headrace.transports.sockets.watched_socket import ConnectedSocket

pytestmark = pytest.mark.anyio

FAR = 1e9


def taking(received: list[bytes]) -> Callable[[bytes], bool]:
    """Records what arrives, and then has enough."""

    def take(data: bytes) -> bool:
        received.append(data)
        return True

    return take


async def test_a_connection_with_unsent_bytes_is_not_usable(poller: Poller) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the smallest possible buffer
    stream = ByteStream(ConnectedSocket(ours), poller)
    with theirs:
        request = b"x" * 1_000_000
        stream.send_now(request)
        theirs.sendall(b"answer")
        received: list[bytes] = []
        assert await stream.receive_into(taking(received), FAR, None)
        assert received == [b"answer"]
        assert not stream.is_usable()
        theirs.setblocking(False)
        left = len(request)
        with anyio.fail_after(5):
            while left:
                try:
                    left -= len(theirs.recv(65536))
                except BlockingIOError:
                    await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert stream.is_usable()
        stream.abort()


async def test_a_response_is_valid_whatever_follows_it(poller: Poller) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = ByteStream(ConnectedSocket(ours), poller)
    received: list[bytes] = []

    async def answer_and_close() -> None:
        theirs.sendall(b"whole")
        theirs.close()

    async with anyio.create_task_group() as group:
        group.start_soon(answer_and_close)
        assert await stream.receive_into(taking(received), FAR, None)
        # The end arrives before or after this task resumes; neither changes the response.
        assert received == [b"whole"]
        assert not await stream.receive_into(lambda data: True, FAR, None)
    assert not stream.is_usable()
    stream.abort()
