"""The protocol of one HTTP/2 connection, without I/O: libnghttp2's client side (ngh2), in headrace's words.

This is the only file that knows ngh2. It is young, so its version is pinned, and what it makes of bytes is
compared with another implementation's in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

import ngh2
from ngh2 import DataReceived, ResponseReceived, StreamClosed

from headrace.errors import ProtocolError
from headrace.transports.incoming_response import MAX_HEAD_BYTES
from headrace.transports.request_writer import Fields

ASSUMED_STREAMS = 100
"""Streams that a server is taken to allow until it has said how many (RFC 9113, 6.5.2, asks for no less)."""

STREAM_WINDOW = 1024 * 1024
"""Bytes of one answer that may come before somebody has taken them."""

_CONNECTION_WINDOW = 2**31 - 1
"""All that the protocol allows: what is not taken of one stream must not keep back the others' answers."""

_MOST_FRUITLESS = 10_000
"""Events without any of an answer among them, after which they are taken for a flood.

What they say costs the other side nothing, and libnghttp2 bounds only those that it cannot answer at once.
"""

CANCEL = int(ngh2.ErrorCode.CANCEL)
NO_ERROR = int(ngh2.ErrorCode.NO_ERROR)
REFUSED_STREAM = int(ngh2.ErrorCode.REFUSED_STREAM)
HTTP_1_1_REQUIRED = int(ngh2.ErrorCode.HTTP_1_1_REQUIRED)

_NO_FURTHER = (ngh2.ConnectionClosingError, ngh2.NoAvailableStreamIDError, ngh2.ConnectionStateError)


def error_name(code: int) -> str:
    """What RFC 9113, section 7, calls an error code."""
    try:
        return ngh2.ErrorCode(code).name
    except ValueError:
        return f"error {code}"


class CannotBegin(Exception):
    """The connection takes no further request; nothing was sent."""


class Receiver(Protocol):
    """Who is told what comes; ``stream`` is a stream's number."""

    def head_came(self, stream: int, status: int, headers: Fields, last: bool) -> None:
        """The head of a final answer; ``last``: it has no body."""

    def data_came(self, stream: int, data: bytes, last: bool) -> None:
        """A part of the body; ``last``: the answer is complete."""

    def trailers_came(self, stream: int) -> None:
        """The answer is complete."""

    def stream_failed(self, stream: int, code: int, *, by_peer: bool, unsent: bool) -> None:
        """A stream ends before its time; `stream_ended` follows.

        ``by_peer``: the other side reset it. ``unsent``: its request never left.
        """

    def stream_ended(self, stream: int) -> None:
        """A stream is over in both directions."""

    def going_away(self, code: int, said: bytes, last: int) -> None:
        """The other side takes no further requests on this connection, nor those after stream ``last``."""

    def streams_allowed(self, count: int) -> None:
        """How many streams there may be at once."""

    def ended(self, code: int) -> None:
        """The connection is over: one side broke the protocol, or nothing is left to do."""


class Http2Engine:
    """Requests to bytes, and bytes to what a `Receiver` is told.

    After each `receive`, and after whatever asks for something to be sent, `outgoing` has the bytes to send.
    It raises `ProtocolError` where the other side breaks the protocol or floods this one; then the connection
    is over. What is asked for of a stream or connection that is over by then has no effect.
    """

    __slots__ = ("_connection", "_fruitless", "_receiver", "_reset_by_peer")

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._reset_by_peer = 0
        self._fruitless = 0
        self._connection = ngh2.Connection(
            ngh2.Role.CLIENT,
            ngh2.Configuration(
                auto_window_update=False,
                peer_max_concurrent_streams=ASSUMED_STREAMS,
                max_inbound_header_list_size=MAX_HEAD_BYTES,
            ),
        )
        self._connection.initiate_connection(
            {
                ngh2.Setting.ENABLE_PUSH: 0,
                ngh2.Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                ngh2.Setting.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES,
            }
        )
        self._connection.set_local_window_size(_CONNECTION_WINDOW)

    def begin(self, fields: Iterable[tuple[bytes, bytes]], content: bytes, *, whole: bool) -> int:
        """Send a request; not ``whole``: more of its body follows with `send_more`. Returns its stream."""
        connection = self._connection
        try:
            if whole and not content:
                return connection.send_request(fields, end_stream=True)
            stream = connection.send_request(fields)
        except _NO_FURTHER as error:
            raise CannotBegin from error
        connection.send_data(stream, content, end_stream=whole)
        return stream

    def send_more(self, stream: int, content: bytes, *, last: bool) -> None:
        """Send more of a request's body."""
        self._fruitless = 0  # the other side's windows grow with it, a frame each time
        with suppress(ngh2.NGH2Error):
            self._connection.send_data(stream, content, end_stream=last)

    def waiting(self, stream: int) -> int:
        """Bytes of a request's body that wait for the other side to allow them."""
        return self._connection.queued_body_size(stream)

    def taken(self, stream: int, size: int) -> None:
        """So many bytes of an answer were taken, so that others may come."""
        try:  # noqa: SIM105 - for each piece of an answer, and a context manager takes longer
            self._connection.acknowledge_received_data(size, stream)
        except ngh2.NGH2Error:
            pass

    def reset(self, stream: int) -> None:
        """Be done with a stream: nobody waits for its answer."""
        with suppress(ngh2.NGH2Error):
            self._connection.reset_stream(stream, CANCEL)

    def ping(self) -> None:
        """Have the other side say that it is there."""
        with suppress(ngh2.NGH2Error):
            self._connection.ping()

    def go_away(self) -> None:
        """Say that this side closes the connection."""
        with suppress(ngh2.NGH2Error):
            self._connection.terminate_connection(NO_ERROR)

    def receive(self, data: bytes) -> None:
        """Take bytes, and tell the receiver what they say."""
        try:
            self._connection.receive_data(data)
        except ngh2.DenialOfServiceError as error:
            raise ProtocolError(f"the endpoint floods the connection (HTTP/2: {error})") from None
        except ngh2.NGH2Error as error:
            raise ProtocolError(f"the endpoint breaks HTTP/2: {error}") from None
        self._tell()

    def outgoing(self) -> bytes:
        """The bytes to send now."""
        try:
            data = self._connection.data_to_send()
        except ngh2.NGH2Error as error:
            raise ProtocolError(f"HTTP/2 failed: {error}") from None
        self._tell()
        return data

    def _tell(self) -> None:
        receiver = self._receiver
        for event in self._connection.events():
            if isinstance(event, DataReceived):
                data = event.data
                self._fruitless = 0 if data else self._fruitless + 1
                receiver.data_came(event.stream_id, data, event.end_stream)
            elif isinstance(event, StreamClosed):
                self._fruitless = 0
                if event.error_code or event.local_error is not None:
                    self._tell_failure(event)
                receiver.stream_ended(event.stream_id)
            elif isinstance(event, ResponseReceived):
                (_, status), *headers = event.headers  # the pseudo-header is the first (RFC 9113, 8.3)
                receiver.head_came(event.stream_id, int(status), headers, event.end_stream)
            else:
                self._fruitless += 1
                self._tell_rest(event)
        if self._fruitless > _MOST_FRUITLESS:
            raise ProtocolError("the endpoint floods the connection with frames that answer nothing (HTTP/2)")

    def _tell_rest(self, event: ngh2.Event) -> None:
        receiver = self._receiver
        if isinstance(event, ngh2.TrailersReceived):
            receiver.trailers_came(event.stream_id)
        elif isinstance(event, ngh2.StreamReset):
            self._reset_by_peer = event.stream_id  # that it is closed comes next, where it was open
        elif isinstance(event, ngh2.SettingsReceived):
            streams = event.settings.get(ngh2.Setting.MAX_CONCURRENT_STREAMS)
            if streams is not None:
                receiver.streams_allowed(streams)
        elif isinstance(event, ngh2.GoAwayReceived):
            receiver.going_away(event.error_code, event.debug_data, event.last_stream_id)
        elif isinstance(event, ngh2.ConnectionClosed):
            receiver.ended(event.error_code)

    def _tell_failure(self, event: StreamClosed) -> None:
        stream = event.stream_id
        by_peer = stream == self._reset_by_peer
        unsent = event.local_error is not None
        self._receiver.stream_failed(stream, event.error_code, by_peer=by_peer, unsent=unsent)
