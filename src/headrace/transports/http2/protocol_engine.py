"""The HTTP/2 protocol of one connection, without I/O, by libnghttp2's client side (ngh2).

This is the only file that uses ngh2. ngh2 is young, so its version is pinned, and the tests compare how it
reads bytes with another implementation.
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

INITIAL_MAX_STREAMS = 100
"""The assumed limit of streams until the server sends one (RFC 9113, 6.5.2, recommends this value)."""

STREAM_WINDOW = 1024 * 1024
"""Bytes of one response that may arrive before a task has taken them."""

_CONNECTION_WINDOW = 2**31 - 1
"""The maximum, so that unread data of one stream does not block other responses."""

_MAX_FRUITLESS_EVENTS = 10_000
"""Maximum number of consecutive events without a part of a response; more count as a flood.

Such events are cheap for the peer, and libnghttp2 only limits those that it cannot answer at once.
"""

CANCEL = int(ngh2.ErrorCode.CANCEL)
NO_ERROR = int(ngh2.ErrorCode.NO_ERROR)
REFUSED_STREAM = int(ngh2.ErrorCode.REFUSED_STREAM)
HTTP_1_1_REQUIRED = int(ngh2.ErrorCode.HTTP_1_1_REQUIRED)

_CANNOT_SEND = (ngh2.ConnectionClosingError, ngh2.NoAvailableStreamIDError, ngh2.ConnectionStateError)


def error_name(code: int) -> str:
    """The name of an error code in RFC 9113, section 7."""
    try:
        return ngh2.ErrorCode(code).name
    except ValueError:
        return f"error {code}"


class ConnectionDraining(Exception):
    """The connection accepts no more requests. Nothing was sent."""


class EngineEvents(Protocol):
    """The events that the engine reports."""

    def on_response(self, stream_id: int, status: int, headers: Fields, last: bool) -> None:
        """The head of a final response. ``last``: it has no body."""

    def on_data(self, stream_id: int, data: bytes, last: bool) -> None:
        """A part of the body. ``last``: the response is complete."""

    def on_trailers(self, stream_id: int) -> None:
        """The response is complete."""

    def on_stream_failed(self, stream_id: int, code: int, *, by_peer: bool, unsent: bool) -> None:
        """A stream ends too early; `on_stream_closed` follows.

        ``by_peer``: the peer reset it. ``unsent``: its request was never sent.
        """

    def on_stream_closed(self, stream_id: int) -> None:
        """A stream is closed in both directions."""

    def on_goaway(self, code: int, debug_data: bytes, last_stream_id: int) -> None:
        """The peer accepts no more requests, and has not processed those after ``last_stream_id``."""

    def on_max_streams(self, count: int) -> None:
        """How many streams may be open at once."""

    def on_terminated(self, code: int) -> None:
        """The connection has ended: one side violated the protocol, or nothing is left to do."""


class Http2Engine:
    """Turns requests into bytes, and bytes into `EngineEvents`.

    After `receive_data` and after each method that sends something, `data_to_send` has the bytes. It raises
    `ProtocolError` if the peer violates the protocol or floods this side; the connection has ended then.
    Calls for a stream or connection that has ended have no effect.
    """

    __slots__ = ("_connection", "_fruitless_events", "_receiver", "_reset_by_peer")

    def __init__(self, receiver: EngineEvents) -> None:
        self._receiver = receiver
        self._reset_by_peer = 0
        self._fruitless_events = 0
        self._connection = ngh2.Connection(
            ngh2.Role.CLIENT,
            ngh2.Configuration(
                auto_window_update=False,
                peer_max_concurrent_streams=INITIAL_MAX_STREAMS,
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

    def send_request(self, fields: Iterable[tuple[bytes, bytes]], content: bytes, *, whole: bool) -> int:
        """Send a request and return its stream id. Without ``whole``, `send_data` sends the rest."""
        connection = self._connection
        try:
            if whole and not content:
                return connection.send_request(fields, end_stream=True)
            stream_id = connection.send_request(fields)
        except _CANNOT_SEND as error:
            raise ConnectionDraining from error
        connection.send_data(stream_id, content, end_stream=whole)
        return stream_id

    def send_data(self, stream_id: int, content: bytes, *, last: bool) -> None:
        """Send more of a request's body."""
        self._fruitless_events = 0  # the peer sends a WINDOW_UPDATE frame for each part
        with suppress(ngh2.NGH2Error):
            self._connection.send_data(stream_id, content, end_stream=last)

    def queued_bytes(self, stream_id: int) -> int:
        """Bytes of a request's body that wait for the peer's window."""
        return self._connection.queued_body_size(stream_id)

    def acknowledge_data(self, stream_id: int, size: int) -> None:
        """Let the peer send ``size`` more bytes, because as many of a response were taken."""
        try:  # noqa: SIM105 - called for each part of a response, and a context manager is slower
            self._connection.acknowledge_received_data(size, stream_id)
        except ngh2.NGH2Error:
            pass

    def reset_stream(self, stream_id: int) -> None:
        """Cancel a stream: no task waits for its response."""
        with suppress(ngh2.NGH2Error):
            self._connection.reset_stream(stream_id, CANCEL)

    def ping(self) -> None:
        """Send a PING."""
        with suppress(ngh2.NGH2Error):
            self._connection.ping()

    def close_connection(self) -> None:
        """Send a GOAWAY: this side closes the connection."""
        with suppress(ngh2.NGH2Error):
            self._connection.terminate_connection(NO_ERROR)

    def receive_data(self, data: bytes) -> None:
        """Process bytes, and report their events."""
        try:
            self._connection.receive_data(data)
        except ngh2.DenialOfServiceError as error:
            raise ProtocolError(f"the endpoint floods the connection (HTTP/2: {error})") from None
        except ngh2.NGH2Error as error:
            raise ProtocolError(f"the endpoint violates HTTP/2: {error}") from None
        self._report_events()

    def data_to_send(self) -> bytes:
        """The bytes to send now."""
        try:
            data = self._connection.data_to_send()
        except ngh2.NGH2Error as error:
            raise ProtocolError(f"HTTP/2 failed: {error}") from None
        self._report_events()
        return data

    def _report_events(self) -> None:
        receiver = self._receiver
        for event in self._connection.events():
            if isinstance(event, DataReceived):
                data = event.data
                self._fruitless_events = 0 if data else self._fruitless_events + 1
                receiver.on_data(event.stream_id, data, event.end_stream)
            elif isinstance(event, StreamClosed):
                self._fruitless_events = 0
                if event.error_code or event.local_error is not None:
                    self._report_failure(event)
                receiver.on_stream_closed(event.stream_id)
            elif isinstance(event, ResponseReceived):
                (_, status), *headers = event.headers  # the pseudo-header is the first (RFC 9113, 8.3)
                receiver.on_response(event.stream_id, int(status), headers, event.end_stream)
            else:
                self._fruitless_events += 1
                self._report_rare_event(event)
        if self._fruitless_events > _MAX_FRUITLESS_EVENTS:
            raise ProtocolError(
                "the endpoint floods the connection with frames that carry no response (HTTP/2)"
            )

    def _report_rare_event(self, event: ngh2.Event) -> None:
        receiver = self._receiver
        if isinstance(event, ngh2.TrailersReceived):
            receiver.on_trailers(event.stream_id)
        elif isinstance(event, ngh2.StreamReset):
            self._reset_by_peer = event.stream_id  # if the stream was open, StreamClosed comes next
        elif isinstance(event, ngh2.SettingsReceived):
            streams = event.settings.get(ngh2.Setting.MAX_CONCURRENT_STREAMS)
            if streams is not None:
                receiver.on_max_streams(streams)
        elif isinstance(event, ngh2.GoAwayReceived):
            receiver.on_goaway(event.error_code, event.debug_data, event.last_stream_id)
        elif isinstance(event, ngh2.ConnectionClosed):
            receiver.on_terminated(event.error_code)

    def _report_failure(self, event: StreamClosed) -> None:
        stream_id = event.stream_id
        by_peer = stream_id == self._reset_by_peer
        unsent = event.local_error is not None
        self._receiver.on_stream_failed(stream_id, event.error_code, by_peer=by_peer, unsent=unsent)
