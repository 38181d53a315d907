"""The messages between the processes of a bulk run: MessagePack frames over a socket, with their length."""

from __future__ import annotations

import socket
from typing import Any, Generic, TypeAlias, TypeVar

import anyio
import anyio.abc
import msgspec
from anyio.streams.buffered import BufferedByteReceiveStream

from headrace.bulk.item_result import ItemResult
from headrace.bulk.unfinished_calls import UnfinishedCalls
from headrace.calls import Request
from headrace.wire.batch_lines import EncodedBody

T = TypeVar("T")


class WorkerSetup(msgspec.Struct):
    """The first frame to a worker: how to make its client, and its share of the calls in flight.

    ``make_client`` is pickled, and so are ``answers``, the types of the answers. These and ``choices`` have a
    value for each step; a run without steps counts as one step.
    """

    make_client: bytes
    path: list[str]
    in_flight: int
    choices: list[list[str]]
    fail_on: list[str]
    answers: list[bytes]
    backend: str
    use_uvloop: bool


class WorkerItem(msgspec.Struct, array_like=True, gc=False):
    """An item for a worker: number, id, request with the body as JSON, the digest of its row, and its step.

    ``answer``, the type of the answer, is set by the worker, because it cannot be sent.
    """

    index: int
    id: str
    path: str
    method: str
    body: bytes | None
    fresh: bool = False
    tags: dict[str, str] = {}
    priority: int = 0
    digest: int = 0
    step: int = 0
    answer: Any = None

    @property
    def request(self) -> Request:
        """The request of this item."""
        body = None if self.body is None else EncodedBody(self.body)
        return Request(
            *(body, self.path, self.method, self.id),
            tags=self.tags,
            answer=self.answer,
            priority=self.priority,
            fresh=self.fresh,
        )


class WorkerOrder(msgspec.Struct):
    """A frame to a worker that changes something, or asks for something.

    Attributes:
        report_unfinished: Whether to report what the calls in flight wait for.
        in_flight: The new share of the calls in flight; None for no change.
        limit: The name and the new value of a limit of policies; None for no change.
        cancel: The indexes of items to cancel.
    """

    report_unfinished: bool = False
    in_flight: int | None = None
    limit: tuple[str, int | float | str | None] | None = None
    cancel: list[int] = []


WorkerFrame: TypeAlias = list[WorkerItem] | WorkerOrder
"""A frame to a worker, after its setup."""


class WorkerReport(msgspec.Struct, array_like=True):
    """A frame from a worker: results, events for observers and its calls in flight, or why it cannot start.

    ``unfinished`` is the reply to a frame without items.
    """

    results: list[ItemResult] = []
    events: list[tuple[str, dict[str, str]]] = []
    in_flight: int = 0
    failure: str = ""
    unfinished: UnfinishedCalls | None = None


_encode = msgspec.msgpack.Encoder().encode


class FrameStream(Generic[T]):
    """Sends frames over a socket, and receives frames of one type."""

    def __init__(self, stream: anyio.abc.SocketStream, kind: Any) -> None:
        self._stream = stream
        self._received = BufferedByteReceiveStream(stream)
        self._decode = msgspec.msgpack.Decoder(kind).decode

    async def send(self, frame: Any) -> None:
        """Send a frame; raises `anyio.BrokenResourceError` if the peer is gone."""
        data = _encode(frame)
        await self._stream.send(len(data).to_bytes(4) + data)

    async def receive(self) -> T | None:
        """The next frame, None if the peer is gone."""
        try:
            size = int.from_bytes(await self._received.receive_exactly(4))
            frame: T = self._decode(await self._received.receive_exactly(size))
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
            return None
        return frame

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()


async def frame_stream(raw_socket: socket.socket, kind: Any) -> FrameStream[Any]:
    """A stream of frames over a socket, which it owns."""
    return FrameStream(await anyio.abc.SocketStream.from_socket(raw_socket), kind)
