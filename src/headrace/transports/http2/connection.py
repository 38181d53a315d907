"""An HTTP/2 connection: sends requests, moves bytes between socket and engine, and keeps time."""

from __future__ import annotations

import math
from contextlib import suppress

from headrace.calls import Content
from headrace.errors import ProtocolError
from headrace.transports.event_loops.event_loop import Waiter
from headrace.transports.event_loops.poller import MAX_QUEUED_SENDS
from headrace.transports.http2.protocol_engine import ConnectionDraining, error_name
from headrace.transports.http2.stream import Http2Stream, RequestNotProcessed, StreamLost
from headrace.transports.http2.stream_table import StreamTable
from headrace.transports.http2.uploads import PART_SIZE
from headrace.transports.request_writer import Fields
from headrace.transports.sockets.watched_socket import DeadlinePassed


class Http2Connection(StreamTable):
    """One connection with many streams. Everything that is ready is sent in one write."""

    __slots__ = ("_flush_queued", "_unflushed_requests")

    # Called by the pool and by the sender.

    def start(self) -> None:
        """Send the connection preface, and monitor the peer from now on. Called once, before all else."""
        self._flush_queued = False
        self._unflushed_requests = 0
        self.queue_flush()
        self._set_deadline(self._liveness.next_check(busy=False))

    def send_request(
        self, stream: Http2Stream, fields: Fields, content: Content, *, track_upload: bool
    ) -> None:
        """Send a request on a reserved stream. ``stream`` receives the response.

        Raises `RequestNotProcessed` if the connection accepts no more requests.

        ``track_upload``: whether `is_request_sent` must be exact.
        """
        whole = b"" if not isinstance(content, bytes) or len(content) > PART_SIZE else content
        if track_upload:
            whole = b""
        upload = len(whole) < len(content)
        try:
            stream_id = self._engine.send_request(fields, whole, whole=not upload)
        except ConnectionDraining:
            self.close_when_idle()
            raise RequestNotProcessed from None
        stream.id = stream_id
        self._streams[stream_id] = stream
        self._newest_stream_id = stream_id
        if stream_id >= self._last_stream_id:
            self.close_when_idle()
        if upload:
            self._uploads.add(stream_id, content)
        self._unflushed_requests += 1
        if self._unflushed_requests >= MAX_QUEUED_SENDS:
            self.flush()
        else:
            self.queue_flush()

    def new_waiter(self, stream: Http2Stream, total_deadline: float, max_silence: float | None) -> Waiter:
        """An object to await until the response is complete or, if it is streamed, until more has arrived.

        Afterwards ``stream.failure`` is the error, if any: `DeadlinePassed` at ``total_deadline``, or after
        ``max_silence`` seconds in which nothing arrived. The end of an upload wakes the task too.
        """
        stream.total_deadline, stream.max_silence = total_deadline, max_silence
        deadline = total_deadline
        if max_silence is not None:
            deadline = min(total_deadline, self._poller.now() + max_silence)
        stream.deadline = deadline
        if deadline < self._deadline:
            self._set_deadline(deadline)
        waiter = stream.waiter = self._poller.new_waiter()
        return waiter

    def is_request_sent(self, stream: Http2Stream) -> bool:
        """Whether the peer has received the whole request."""
        return stream.id not in self._uploads

    def take_body(self, stream: Http2Stream) -> bytes:
        """The next part of a body. The peer may send as much again."""
        if self._acknowledge(stream):
            self.queue_flush()
        return stream.take_body()

    def stop_streaming(self, stream: Http2Stream) -> None:
        """Read the response, which is an error, as a whole."""
        self._acknowledge(stream)
        stream.streaming = stream.unbounded = False

    def process_pending_input(self) -> None:
        """Process bytes that the kernel holds, such as a GOAWAY, or the end of the connection."""
        if not self.closed and not self.nothing_received():
            self.on_readable()

    # Sending.

    def queue_flush(self) -> None:
        """Send together with other ready tasks."""
        if not self._flush_queued:
            self._flush_queued = True
            self._poller.queue_send(self, b"")

    def send_now(self, data: bytes) -> None:
        """See `WatchedSocket.send_now`. The engine has the data."""
        self.flush()

    def flush(self) -> None:
        """Send everything that is ready, as far as the socket accepts it."""
        self._flush_queued, self._unflushed_requests = False, 0
        try:
            while not (self.closed or self._unsent) and (data := self._data_to_send()):
                super().send_now(data)
            if self._terminated is not None and not self.closed:
                self.fail(ProtocolError(f"the endpoint violates HTTP/2 ({error_name(self._terminated)})"))
        except ProtocolError as error:
            self.fail(error)

    def _data_to_send(self) -> bytes:
        data = self._engine.data_to_send()
        if self._uploads:
            for stream_id in self._uploads.send_next_parts():
                self._wake(self._streams[stream_id])
        return data or self._engine.data_to_send()

    # Called by the poller.

    def on_drained(self) -> None:
        """See `WatchedSocket.on_drained`."""
        self.flush()

    def on_received(self, data: bytes) -> None:
        """See `WatchedSocket.on_received`."""
        self._liveness.on_received(self._poller.now())
        self._engine.receive_data(data)
        if not self.closed:
            self.flush()
        elif self._newest_stream_id >= self._last_stream_id and not self._goaway_text:
            self._owner.on_request_limit_exceeded()

    def on_disconnected(self, error: Exception | None) -> None:
        """See `WatchedSocket.on_disconnected`."""
        if error is None:
            self.fail(StreamLost(self._goaway_text or "closed the connection"))
        elif isinstance(error, OSError):
            lost = StreamLost(self._goaway_text or f"lost the connection ({error.strerror or error})")
            lost.__cause__ = error
            self.fail(lost)
        else:
            with suppress(ProtocolError):
                super().send_now(self._engine.data_to_send())  # a GOAWAY with the reason
            self.fail(error)

    def on_deadline(self, now: float) -> None:
        """See `WatchedSocket.on_deadline`."""
        for stream in list(self._streams.values()):
            if stream.deadline <= now:
                self._reject(stream, DeadlinePassed())
        liveness, busy = self._liveness, bool(self._streams)
        if not busy and liveness.is_idle_too_long(now):
            self.close_when_idle()
            return
        if liveness.is_ping_overdue(now):
            self.fail(StreamLost("does not answer (no reply to a PING)"))
            return
        if liveness.should_ping(now):
            self._engine.ping()
            self.queue_flush()
        soonest = min((stream.deadline for stream in self._streams.values()), default=math.inf)
        self._set_deadline(min(soonest, liveness.next_check(busy=busy)))

    def on_poller_closed(self) -> None:
        """See `WatchedSocket.on_poller_closed`."""
        self.fail(StreamLost("this side closed it"))
