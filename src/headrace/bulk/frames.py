"""What the processes of a bulk run tell each other: MessagePack over a socket, a length before each frame."""

from __future__ import annotations

import socket
from typing import Any, Generic, TypeVar

import anyio
import anyio.abc
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from headrace.bulk.hanging import Unfinished
from headrace.bulk.result import Result
from headrace.calls import Request
from headrace.wire.batch_lines import EncodedBody

T = TypeVar("T")


class Setup(msgspec.Struct):
    """The first frame to a worker: how to make its client, and what its share of the calls is.

    ``make_client`` and ``answer``, the type that answers are to have, are pickled.
    """

    make_client: bytes
    path: list[str]
    in_flight: int
    choices: list[str]
    answer: bytes
    backend: str
    use_uvloop: bool


class Work(msgspec.Struct, array_like=True, gc=False):
    """An item for a worker: its place, its id, the request's path, method and body as JSON, and `fresh`."""

    index: int
    id: str
    path: str
    method: str
    body: bytes | None
    fresh: bool = False

    @property
    def request(self) -> Request:
        """The request that the item stands for."""
        body = None if self.body is None else EncodedBody(self.body)
        return Request(body, self.path, self.method, self.id, fresh=self.fresh)


class Report(msgspec.Struct, array_like=True):
    """From a worker: results, what observers are told, its calls in flight; or why it cannot work.

    ``unfinished`` answers a frame without items.
    """

    results: list[Result] = []
    events: list[tuple[str, dict[str, str]]] = []
    in_flight: int = 0
    failure: str = ""
    unfinished: Unfinished | None = None


_encode = msgspec.msgpack.Encoder().encode


class Frames(Generic[T]):
    """Sends frames over a socket, and receives those of one type."""

    def __init__(self, stream: anyio.abc.SocketStream, kind: Any) -> None:
        self._stream = stream
        self._received = BufferedByteReceiveStream(stream)
        self._decode = msgspec.msgpack.Decoder(kind).decode

    async def send(self, frame: Any) -> None:
        """Send one; raises `anyio.BrokenResourceError` where the other side is gone."""
        data = _encode(frame)
        await self._stream.send(len(data).to_bytes(4) + data)

    async def receive(self) -> T | None:
        """The next one, None where the other side is gone."""
        try:
            size = int.from_bytes(await self._received.receive_exactly(4))
            frame: T = self._decode(await self._received.receive_exactly(size))
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
            return None
        return frame

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()


async def frames_over(raw_socket: socket.socket, kind: Any) -> Frames[Any]:
    """Frames over a socket, which they own."""
    return Frames(await anyio.abc.SocketStream.from_socket(raw_socket), kind)
