"""The open streams of an HTTP/2 connection, and the handlers of the engine's events."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, Protocol

from headrace.transports.http2.liveness import Liveness
from headrace.transports.http2.protocol_engine import NO_ERROR, REFUSED_STREAM, Http2Engine, error_name
from headrace.transports.http2.stream import Http2Stream, StreamLost, stream_error
from headrace.transports.http2.uploads import Uploads
from headrace.transports.request_writer import Fields
from headrace.transports.sockets.watched_socket import ConnectedSocket, WatchedSocket

if TYPE_CHECKING:
    from headrace.transports.event_loops.poller import Poller


class ConnectionOwner(Protocol):
    """The pool of an `Http2Connection`."""

    def on_free_stream(self, connection: Any, /) -> None:
        """A stream can be opened."""

    def on_connection_draining(self, connection: Any, /) -> None:
        """The connection will never accept a request again."""

    def on_max_streams(self, count: int, /) -> None:
        """How many streams the server allows at once on each connection."""

    def on_request_limit(self, requests: int, /) -> None:
        """The server closed a connection after this many requests, and rejected the later ones."""

    def on_request_limit_exceeded(self) -> None:
        """The server accepts more requests per connection than assumed."""


class StreamTable(WatchedSocket):
    """The open streams of a connection, and the handlers of the engine's events; see `EngineEvents`.

    ``free_streams`` is how many more streams can be opened now. ``draining``: none; the open ones continue.
    ``in_free_list`` belongs to the pool. ``max_streams`` is how many streams may be open at once,
    ``max_requests`` how many the connection may carry in total.
    """

    __slots__ = (
        "_engine",
        "_goaway_text",
        "_last_stream_id",
        "_liveness",
        "_max_streams",
        "_newest_stream_id",
        "_owner",
        "_streams",
        "_terminated",
        "_uploads",
        "draining",
        "free_streams",
        "in_free_list",
    )

    def __init__(
        self,
        connected: ConnectedSocket,
        poller: Poller,
        owner: ConnectionOwner,
        max_streams: int,
        max_requests: float,
    ) -> None:
        super().__init__(connected, poller)
        self._owner = owner
        self._engine = Http2Engine(self)
        self._streams: dict[int, Http2Stream] = {}
        self._uploads = Uploads(self._engine)
        self._liveness = Liveness(poller.now())
        self._goaway_text = ""
        self._terminated: int | None = None
        self._last_stream_id = 2 * max_requests - 1  # stream ids are 1, 3, 5, …
        self._newest_stream_id = 0
        self._max_streams = max_streams
        self.free_streams: int = max_streams
        self.draining: bool = False
        self.in_free_list: bool = False

    @property
    def active_streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    # Defined by `Http2Connection`.

    def flush(self) -> None:
        """Send everything that is ready, as far as the socket accepts it."""
        raise NotImplementedError

    def queue_flush(self) -> None:
        """Flush after all tasks that are ready have run."""
        raise NotImplementedError

    # Called by the engine; see `EngineEvents`.

    def on_response(self, stream_id: int, status: int, headers: Fields, last: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.set_head(status, headers)
        if last:
            self._complete(stream)
        elif stream.too_large is not None:
            self._reject(stream, stream.too_large)
        elif stream.streaming:
            self._wake(stream)
        else:
            self._extend_deadline(stream)

    def on_data(self, stream_id: int, data: bytes, last: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None and stream.streaming:
            stream.unread += len(data)
        elif data:
            self._engine.acknowledge_data(stream_id, len(data))
        if stream is None:
            return
        stream.add_body(data)
        if stream.too_large is not None:
            self._reject(stream, stream.too_large)
        elif last:
            self._complete(stream)
        elif stream.streaming:
            self._wake(stream)
        else:
            self._extend_deadline(stream)

    def on_trailers(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._complete(stream)

    def on_stream_failed(self, stream_id: int, code: int, *, by_peer: bool, unsent: bool) -> None:
        if code == REFUSED_STREAM and by_peer and len(self._streams) <= self._max_streams:
            # The server counts streams that this side does not count, such as cancelled ones. It may count
            # them for as long as the connection lasts.
            self.close_when_idle()
        stream = self._streams.get(stream_id)
        if stream is not None:
            started = stream.has_head
            self._fail(stream, stream_error(code, by_peer=by_peer, unsent=unsent, response_started=started))

    def on_stream_closed(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._uploads.cancel(stream_id)
            self._fail(stream, StreamLost("ended the request's stream"))  # unless it has already failed
        self.release_stream()

    def on_goaway(self, code: int, debug_data: bytes, last_stream_id: int) -> None:
        if code == NO_ERROR and 0 < last_stream_id < self._newest_stream_id:
            self._owner.on_request_limit((last_stream_id + 1) // 2)
        self._goaway_text = "closed the connection"
        if code != NO_ERROR:
            words = debug_data.decode("utf-8", "replace")[:100]
            self._goaway_text += f" ({error_name(code)}{': ' + repr(words) if words else ''})"
        self._start_draining()
        self._close_if_idle()

    def on_max_streams(self, count: int) -> None:
        self.free_streams += count - self._max_streams
        self._max_streams = count
        self._owner.on_max_streams(count)
        if self.free_streams > 0 and not self.draining:
            self._owner.on_free_stream(self)

    def on_terminated(self, code: int) -> None:
        self._terminated = code

    # Ends of streams and of the connection.

    def release_stream(self) -> None:
        """Return a reserved stream that is not needed, or that has ended."""
        self.free_streams += 1
        if not self._streams:
            self._liveness.last_used = self._liveness.last_received
        if self.draining:
            self._close_if_idle()
        elif self.free_streams == 1 or not self.in_free_list:
            self._owner.on_free_stream(self)  # if there were more, no call waits for one

    def cancel_stream(self, stream: Http2Stream) -> None:
        """Cancel a stream: no task reads its response any more."""
        stream.waiter = None
        self._acknowledge(stream)
        if self._streams.pop(stream.id, None) is not None:
            self._uploads.cancel(stream.id)
            self._reset(stream.id)

    def close_when_idle(self) -> None:
        """Accept no more requests, and close once no stream is open."""
        self._start_draining()
        if not self._streams:
            self.close()

    def close(self) -> None:
        """Close a connection without open streams, with a GOAWAY."""
        if not self.closed:
            self._engine.close_connection()
            self.flush()
            self.abort()

    def fail(self, failure: Exception) -> None:
        """End the connection, and fail each stream whose response is not complete."""
        self.draining = True
        streams, self._streams = list(self._streams.values()), {}
        self.abort()
        for stream in streams:
            self._fail(stream, failure)
        self._owner.on_connection_draining(self)

    def _start_draining(self) -> None:
        if not self.draining:
            self.draining = True
            self._owner.on_connection_draining(self)

    def _close_if_idle(self) -> None:
        if not self._streams and not self.closed:
            self.flush()
            self.abort()

    def _complete(self, stream: Http2Stream) -> None:
        stream_id = stream.id
        del self._streams[stream_id]
        if self._uploads.cancel(stream_id):
            self._reset(stream_id)  # the response arrived before the request was completely sent
        stream.complete = True
        self._wake(stream)

    def _acknowledge(self, stream: Http2Stream) -> bool:
        """Acknowledge the unread data of a response to the peer. False if there is none."""
        unread, stream.unread = stream.unread, 0
        if not unread or self.closed:
            return False
        self._engine.acknowledge_data(stream.id, unread)
        return True

    def _extend_deadline(self, stream: Http2Stream) -> None:
        """Restart the allowed silence, because data has arrived."""
        if stream.max_silence is not None:
            stream.deadline = min(stream.total_deadline, self._liveness.last_received + stream.max_silence)

    def _reject(self, stream: Http2Stream, failure: Exception) -> None:
        self._fail(stream, failure)
        self.cancel_stream(stream)

    def _fail(self, stream: Http2Stream, failure: Exception) -> None:
        if not stream.complete and stream.failure is None:
            stream.failure = copy.copy(failure)  # one traceback per stream
            stream.failure.__cause__ = failure.__cause__
            self._wake(stream)

    def _wake(self, stream: Http2Stream) -> None:
        if stream.waiter is not None:
            self._poller.wake(stream.waiter)
            stream.waiter = None
            stream.deadline = math.inf

    def _reset(self, stream_id: int) -> None:
        if not self.closed:
            self._engine.reset_stream(stream_id)
            self.queue_flush()
