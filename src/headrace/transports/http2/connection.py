"""An HTTP/2 connection over a watched socket: many exchanges at once, and one write for all that is ready."""

from __future__ import annotations

import copy
import math
from contextlib import suppress
from typing import Protocol

from headrace.errors import ProtocolError
from headrace.transports.event_loops.event_loop import Waiter
from headrace.transports.event_loops.poller import MOST_TOGETHER, Poller
from headrace.transports.http2.liveness import Liveness
from headrace.transports.http2.protocol_engine import (
    NO_ERROR,
    REFUSED_STREAM,
    CannotBegin,
    Http2Engine,
    error_name,
)
from headrace.transports.http2.stream import Exchange, Lost, Unprocessed, stream_failure
from headrace.transports.http2.uploads import PIECE, Uploads
from headrace.transports.request_writer import Fields
from headrace.transports.sockets.byte_stream import LimitReached
from headrace.transports.sockets.watched_socket import Connected, WatchedSocket


class Owner(Protocol):
    """The pool that a connection belongs to."""

    def has_room(self, connection: Http2Connection, /) -> None:
        """A stream is free."""

    def lost(self, connection: Http2Connection, /) -> None:
        """The connection takes no further request, for good."""

    def allows(self, streams: int, /) -> None:
        """How many streams at once the server allows on each connection."""

    def took(self, requests: int, /) -> None:
        """The server closed a connection after so many requests, and refused those after them."""

    def takes_more(self) -> None:
        """The server takes more requests on a connection than it was given."""


class Http2Connection(WatchedSocket):
    """One connection, and the exchanges on it.

    ``room`` is how many more exchanges may begin now. ``draining``: none may, the rest goes on to its end.
    ``listed`` is the pool's own note. ``streams`` is how many may be under way at once, ``requests`` how many
    it may take in all.
    """

    __slots__ = (
        "_allowed",
        "_begun",
        "_due",
        "_engine",
        "_exchanges",
        "_farewell",
        "_last",
        "_liveness",
        "_newest",
        "_over",
        "_owner",
        "_uploads",
        "draining",
        "listed",
        "room",
    )

    def __init__(
        self, connected: Connected, poller: Poller, owner: Owner, streams: int, requests: float = math.inf
    ) -> None:
        super().__init__(connected, poller)
        self._owner = owner
        self._engine = Http2Engine(self)
        self._exchanges: dict[int, Exchange] = {}
        self._uploads = Uploads(self._engine)
        self._due = False
        self._begun = 0
        self._farewell = ""
        self._over: int | None = None
        self._last, self._newest = 2 * requests - 1, 0  # streams are numbered 1, 3, 5, …
        self._allowed = self.room = streams
        self.draining = False
        self.listed = False
        self._liveness = Liveness(poller.now())
        self.send_soon()
        self._limit(self._liveness.next_look(busy=False))

    @property
    def busy(self) -> int:
        """How many exchanges are under way."""
        return len(self._exchanges)

    # What the pool calls.

    def begin(self, exchange: Exchange, fields: Fields, content: bytes, *, watched: bool) -> None:
        """Send a request on a stream that was reserved, whose answer comes into ``exchange``.

        Raises `Unprocessed` where the connection takes no further request.

        ``watched``: `handed_over` is to know when the other side has taken the request.
        """
        upload = len(content) > PIECE or (watched and bool(content))
        try:
            stream = self._engine.begin(fields, b"" if upload else content, whole=not upload)
        except CannotBegin:
            self.retire()
            raise Unprocessed from None
        exchange.stream = stream
        self._exchanges[stream] = exchange
        self._newest = stream
        if stream >= self._last:
            self.retire()
        if upload:
            self._uploads.add(stream, content)
        self._begun += 1
        if self._begun >= MOST_TOGETHER:
            self.flush()
        else:
            self.send_soon()

    def waiter(self, exchange: Exchange, total: float, silence: float | None) -> Waiter:
        """What to await until the answer is complete or, by pieces, more of it has come.

        Then ``exchange.failure`` says what went wrong: `LimitReached` at ``total``, or after ``silence``
        seconds without a piece. A request that is handed over wakes as well.
        """
        exchange.total, exchange.silence = total, silence
        exchange.until = until = total if silence is None else min(total, self._poller.now() + silence)
        if until < self._until:
            self._limit(until)
        waiter = exchange.waiter = self._poller.new_waiter()
        return waiter

    def handed_over(self, exchange: Exchange) -> bool:
        """Whether the other side has taken the whole request."""
        return exchange.stream not in self._uploads

    def take(self, exchange: Exchange) -> bytes:
        """What has come of a body; others may come in its place."""
        if self._let_more_come(exchange):
            self.send_soon()
        return exchange.take()

    def read_whole(self, exchange: Exchange) -> None:
        """Do not give an answer out by pieces after all: it is an error's."""
        self._let_more_come(exchange)
        exchange.by_pieces = exchange.unbounded = False

    def give_back_room(self) -> None:
        """A stream that was reserved is not needed, or one that was used is over."""
        self.room += 1
        if not self._exchanges:
            self._liveness.used = self._liveness.heard
        if self.draining:
            self._end_if_over()
        elif self.room == 1 or not self.listed:
            self._owner.has_room(self)  # with more room, nobody waits for it

    def forget(self, exchange: Exchange) -> None:
        """Be done with an exchange: nobody takes any more of its answer."""
        exchange.waiter = None
        self._let_more_come(exchange)
        if self._exchanges.pop(exchange.stream, None) is not None:
            self._uploads.drop(exchange.stream)
            self._reset(exchange.stream)

    def check(self) -> None:
        """Take in what the kernel has for this side: a GOAWAY, or the connection's end."""
        if not self.closed and not self.nothing_came():
            self.readable()

    def retire(self) -> None:
        """Take no further request; close once the exchanges are over."""
        self._drain()
        if not self._exchanges:
            self.close()

    def close(self) -> None:
        """Close politely, where nothing is under way."""
        if not self.closed:
            self._engine.go_away()
            self.flush()
            self.abort()

    def send_soon(self) -> None:
        """Send together with what other tasks that are ready send."""
        if not self._due:
            self._due = True
            self._poller.send_soon(self, b"")

    # What the poller calls.

    def send_now(self, data: bytes) -> None:
        """See `WatchedSocket.send_now`: what is to be sent, the engine has."""
        self.flush()

    def flush(self) -> None:
        """Send what there is to send, as far as the socket takes it."""
        self._due, self._begun = False, 0
        try:
            while not (self.closed or self._rest) and (data := self._outgoing()):
                super().send_now(data)
            if self._over is not None and not self.closed:
                self.fail(ProtocolError(f"the endpoint breaks HTTP/2 ({error_name(self._over)})"))
        except ProtocolError as error:
            self.fail(error)

    def sent_all(self) -> None:
        """See `WatchedSocket.sent_all`."""
        self.flush()

    def received(self, data: bytes) -> None:
        """See `WatchedSocket.received`."""
        self._liveness.hear(self._poller.now())
        self._engine.receive(data)
        if not self.closed:
            self.flush()
        elif self._newest >= self._last and not self._farewell:
            self._owner.takes_more()

    def broken(self, error: Exception | None) -> None:
        """See `WatchedSocket.broken`."""
        if error is None:
            self.fail(Lost(self._farewell or "closed the connection"))
        elif isinstance(error, OSError):
            lost = Lost(self._farewell or f"lost the connection ({error.strerror or error})")
            lost.__cause__ = error
            self.fail(lost)
        else:
            with suppress(ProtocolError):
                super().send_now(self._engine.outgoing())  # what it has to say to the other side
            self.fail(error)

    def expired(self, now: float) -> None:
        """See `WatchedSocket.expired`."""
        for exchange in list(self._exchanges.values()):
            if exchange.until <= now:
                self._fail(exchange, LimitReached())
                self.forget(exchange)
        liveness, busy = self._liveness, bool(self._exchanges)
        if not busy and liveness.is_idle(now):
            self.retire()
            return
        if liveness.is_lost(now):
            self.fail(Lost("does not answer (no reply to a PING)"))
            return
        if liveness.asks(now):
            self._engine.ping()
            self.send_soon()
        soonest = min((exchange.until for exchange in self._exchanges.values()), default=math.inf)
        self._limit(min(soonest, liveness.next_look(busy=busy)))

    def cut_off(self) -> None:
        """See `WatchedSocket.cut_off`."""
        self.fail(Lost("this side closed it"))

    def fail(self, failure: Exception) -> None:
        """The connection is over, and each exchange that is not complete with it."""
        self.draining = True
        exchanges, self._exchanges = list(self._exchanges.values()), {}
        self.abort()
        for exchange in exchanges:
            self._fail(exchange, failure)
        self._owner.lost(self)

    # What the engine tells.

    def head_came(self, stream: int, status: int, headers: Fields, last: bool) -> None:
        exchange = self._exchanges.get(stream)
        if exchange is None:
            return
        exchange.begin_answer(status, headers)
        if last:
            self._complete(exchange)
        elif exchange.too_large is not None:
            self._refuse(exchange)
        elif exchange.by_pieces:
            self._wake(exchange)
        else:
            self._heard_of(exchange)

    def data_came(self, stream: int, data: bytes, last: bool) -> None:
        exchange = self._exchanges.get(stream)
        if exchange is not None and exchange.by_pieces:
            exchange.unread += len(data)
        elif data:
            self._engine.taken(stream, len(data))
        if exchange is None:
            return
        exchange.add(data)
        if exchange.too_large is not None:
            self._refuse(exchange)
        elif last:
            self._complete(exchange)
        elif exchange.by_pieces:
            self._wake(exchange)
        else:
            self._heard_of(exchange)

    def trailers_came(self, stream: int) -> None:
        exchange = self._exchanges.get(stream)
        if exchange is not None:
            self._complete(exchange)

    def stream_failed(self, stream: int, code: int, *, by_peer: bool, unsent: bool) -> None:
        if code == REFUSED_STREAM and by_peer and len(self._exchanges) <= self._allowed:
            # The server counts others than this side does, those that were cancelled say, which it may
            # not let go of as long as the connection lasts.
            self.retire()
        exchange = self._exchanges.get(stream)
        if exchange is not None:
            self._fail(
                exchange, stream_failure(code, by_peer=by_peer, unsent=unsent, started=exchange.has_head)
            )

    def stream_ended(self, stream: int) -> None:
        exchange = self._exchanges.pop(stream, None)
        if exchange is not None:
            self._uploads.drop(stream)
            self._fail(exchange, Lost("ended the request's stream"))  # unless it has failed already
        self.give_back_room()

    def going_away(self, code: int, said: bytes, last: int) -> None:
        if code == NO_ERROR and 0 < last < self._newest:
            self._owner.took((last + 1) // 2)
        self._farewell = "closed the connection"
        if code != NO_ERROR:
            words = said.decode("utf-8", "replace")[:100]
            self._farewell += f" ({error_name(code)}{': ' + repr(words) if words else ''})"
        self._drain()
        self._end_if_over()

    def streams_allowed(self, count: int) -> None:
        self.room += count - self._allowed
        self._allowed = count
        self._owner.allows(count)
        if self.room > 0 and not self.draining:
            self._owner.has_room(self)

    def ended(self, code: int) -> None:
        self._over = code

    # Its own.

    def _outgoing(self) -> bytes:
        data = self._engine.outgoing()
        if self._uploads:
            for stream in self._uploads.go_on():
                self._wake(self._exchanges[stream])
        return data or self._engine.outgoing()

    def _let_more_come(self, exchange: Exchange) -> bool:
        """Tell the other side that what came of an answer is taken; False where nothing is to be told."""
        unread, exchange.unread = exchange.unread, 0
        if not unread or self.closed:
            return False
        self._engine.taken(exchange.stream, unread)
        return True

    def _drain(self) -> None:
        """Take no further request."""
        if not self.draining:
            self.draining = True
            self._owner.lost(self)

    def _complete(self, exchange: Exchange) -> None:
        stream = exchange.stream
        del self._exchanges[stream]
        if self._uploads.drop(stream):
            self._reset(stream)  # the answer came before the request was sent
        exchange.complete = True
        self._wake(exchange)

    def _heard_of(self, exchange: Exchange) -> None:
        """The silence that is allowed begins again."""
        if exchange.silence is not None:
            exchange.until = min(exchange.total, self._liveness.heard + exchange.silence)

    def _refuse(self, exchange: Exchange) -> None:
        failure = exchange.too_large
        assert failure is not None
        self._fail(exchange, failure)
        self.forget(exchange)

    def _fail(self, exchange: Exchange, failure: Exception) -> None:
        if not exchange.complete and exchange.failure is None:
            exchange.failure = copy.copy(failure)  # for each a traceback of its own
            exchange.failure.__cause__ = failure.__cause__
            self._wake(exchange)

    def _wake(self, exchange: Exchange) -> None:
        if exchange.waiter is not None:
            self._poller.wake(exchange.waiter)
            exchange.waiter = None
            exchange.until = math.inf

    def _reset(self, stream: int) -> None:
        if not self.closed:
            self._engine.reset(stream)
            self.send_soon()

    def _end_if_over(self) -> None:
        if not self._exchanges and not self.closed:
            self.flush()
            self.abort()
