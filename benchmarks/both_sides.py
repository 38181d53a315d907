"""Both sides of a call over https, without I/O: TLS, and HTTP/1.1 or HTTP/2 in it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httptools
import msgspec
import ngh2
import trustme
from benchmarks.clients.floor_h2 import Fields, fields_of
from benchmarks.clients.http_messages import Response, head_of
from benchmarks.measuring import body
from benchmarks.nginx import ANSWER

URL = "https://localhost/v1/chat/completions"
SENT, ENCODED = msgspec.json.encode(body(0)), msgspec.json.encode(ANSWER)
MOST = 2**14
"""Bytes that a TLS record holds."""


class Side(NamedTuple):
    """One side of a TLS connection without I/O."""

    session: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO

    def encrypt(self, data: bytes) -> bytes:
        """Records for what is to be said."""
        self.session.write(data)
        return self.outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """What records say."""
        self.incoming.write(data)
        parts = []
        while self.incoming.pending:
            try:
                parts.append(self.session.read(MOST))
            except ssl.SSLWantReadError:  # a ticket says nothing
                break
        return b"".join(parts)


class Contexts(NamedTuple):
    """What both sides need for TLS."""

    client: ssl.SSLContext
    server: ssl.SSLContext


def contexts() -> Contexts:
    """With a certificate of a certificate authority made for it, which the client verifies."""
    authority = trustme.CA()
    client, server = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(client)
    authority.issue_cert("localhost").configure_cert(server)
    return Contexts(client, server)


def side(context: ssl.SSLContext, **options: Any) -> Side:
    """A side of a new connection."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return Side(context.wrap_bio(incoming, outgoing, **options), incoming, outgoing)


def shake_hands(both: Contexts, earlier: ssl.SSLSession | None = None) -> tuple[Side, Side, float]:
    """Client, server, and the seconds that the client took; ``earlier``: what is resumed."""
    took, server = 0.0, side(both.server, server_side=True)
    began = time.perf_counter()
    client = side(both.client, server_hostname="localhost", session=earlier)
    while True:
        done = advance(client)
        said = client.outgoing.read()
        took += time.perf_counter() - began
        server.incoming.write(said)
        advance(server)
        received = server.outgoing.read()
        began = time.perf_counter()
        client.incoming.write(received)
        if done:
            return client, server, took


def advance(one: Side) -> bool:
    """Go on with a handshake; whether it is done."""
    try:
        one.session.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


class Protocol(NamedTuple):
    """A protocol's two sides without I/O.

    ``ask`` returns the bytes of some requests, ``answer`` what is in each record that answers them, and
    ``read`` the bodies.
    """

    ask: Callable[[int], bytes]
    answer: Callable[[bytes, int], list[bytes]]
    read: Callable[[bytes], list[bytes]]


def http1() -> Protocol:
    """HTTP/1.1, a call at a time."""
    head = head_of(URL)
    answered = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 28 Nov 2026 17:00:00 GMT\r\n"
    answered += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(ENCODED)
    answered += b"Connection: keep-alive\r\n\r\n" + ENCODED

    def ask(calls: int) -> bytes:
        return b"%b%d\r\n\r\n%b" % (head, len(SENT), SENT)

    def answer(asked: bytes, calls: int) -> list[bytes]:
        return [answered]

    def read(data: bytes) -> list[bytes]:
        response = Response()
        httptools.HttpResponseParser(response).feed_data(data)
        return [response.body]

    return Protocol(ask, answer, read)


def http2() -> Protocol:
    """HTTP/2, as many calls at a time as one likes."""
    client, server = ngh2.Connection(ngh2.Role.CLIENT), ngh2.Connection(ngh2.Role.SERVER)
    for each in (client, server):
        each.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: 2**20})
        each.set_local_window_size(2**24)
    fields = fields_of(URL)
    answered: Fields = [
        (b":status", b"200"),
        (b"server", b"nginx/1.22.1"),
        (b"date", b"Sat, 28 Nov 2026 17:00:00 GMT"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(ENCODED)),
    ]

    def ask(calls: int) -> bytes:
        for _ in range(calls):
            stream = client.send_request([*fields, (b"content-length", b"%d" % len(SENT))])
            client.send_data(stream, SENT, end_stream=True)
        return client.data_to_send()

    def answer(asked: bytes, calls: int) -> list[bytes]:
        server.receive_data(asked)
        records = [server.data_to_send()]
        for event in server.events():
            if isinstance(event, ngh2.RequestReceived):
                server.send_response(event.stream_id, answered)
                records.append(server.data_to_send())
                server.send_data(event.stream_id, ENCODED, end_stream=True)
                records.append(server.data_to_send())
        return list(filter(None, records))

    def read(data: bytes) -> list[bytes]:
        parts: dict[int, list[bytes]] = {}
        bodies = []
        client.receive_data(data)
        for event in client.events():
            if isinstance(event, ngh2.DataReceived):
                parts.setdefault(event.stream_id, []).append(event.data)
            elif isinstance(event, ngh2.StreamClosed):
                bodies.append(b"".join(parts.pop(event.stream_id)))
        return bodies

    return Protocol(ask, answer, read)
