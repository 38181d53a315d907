"""Client and server of a call over https, without I/O: TLS with HTTP/1.1 or HTTP/2."""

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
from benchmarks.measurement import body
from benchmarks.nginx import ANSWER

URL = "https://localhost/v1/chat/completions"
REQUEST_BODY, RESPONSE_BODY = msgspec.json.encode(body(0)), msgspec.json.encode(ANSWER)
RECORD_SIZE = 2**14
"""Largest size of a TLS record, in bytes."""


class TlsSide(NamedTuple):
    """One side of a TLS connection without I/O."""

    session: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO

    def encrypt(self, data: bytes) -> bytes:
        """The TLS records for these bytes."""
        self.session.write(data)
        return self.outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """The bytes in these TLS records."""
        self.incoming.write(data)
        parts = []
        while self.incoming.pending:
            try:
                parts.append(self.session.read(RECORD_SIZE))
            except ssl.SSLWantReadError:  # a session ticket has no data
                break
        return b"".join(parts)


class TlsContexts(NamedTuple):
    """The SSL contexts of client and server."""

    client: ssl.SSLContext
    server: ssl.SSLContext


def create_contexts() -> TlsContexts:
    """Contexts with a new certificate authority that the client trusts."""
    authority = trustme.CA()
    client, server = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(client)
    authority.issue_cert("localhost").configure_cert(server)
    return TlsContexts(client, server)


def tls_side(context: ssl.SSLContext, **options: Any) -> TlsSide:
    """One side of a new connection."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return TlsSide(context.wrap_bio(incoming, outgoing, **options), incoming, outgoing)


def shake_hands(
    contexts: TlsContexts, earlier: ssl.SSLSession | None = None
) -> tuple[TlsSide, TlsSide, float]:
    """Client, server, and the seconds that the client took; ``earlier``: a session to resume."""
    took, server = 0.0, tls_side(contexts.server, server_side=True)
    began = time.perf_counter()
    client = tls_side(contexts.client, server_hostname="localhost", session=earlier)
    while True:
        done = continue_handshake(client)
        data = client.outgoing.read()
        took += time.perf_counter() - began
        server.incoming.write(data)
        continue_handshake(server)
        received = server.outgoing.read()
        began = time.perf_counter()
        client.incoming.write(received)
        if done:
            return client, server, took


def continue_handshake(side: TlsSide) -> bool:
    """Continue a handshake; return whether it is complete."""
    try:
        side.session.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


class Protocol(NamedTuple):
    """Client and server of a protocol, without I/O.

    ``make_requests`` returns the bytes of a number of requests, ``make_responses`` the content of each TLS
    record of the responses, and ``read_responses`` their bodies.
    """

    make_requests: Callable[[int], bytes]
    make_responses: Callable[[bytes, int], list[bytes]]
    read_responses: Callable[[bytes], list[bytes]]


def http1() -> Protocol:
    """HTTP/1.1, one call at a time."""
    head = head_of(URL)
    response_head = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 28 Nov 2026 17:00:00 GMT\r\n"
    response_head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(RESPONSE_BODY)
    response_head += b"Connection: keep-alive\r\n\r\n" + RESPONSE_BODY

    def make_requests(calls: int) -> bytes:
        return b"%b%d\r\n\r\n%b" % (head, len(REQUEST_BODY), REQUEST_BODY)

    def make_responses(request: bytes, calls: int) -> list[bytes]:
        return [response_head]

    def read_responses(data: bytes) -> list[bytes]:
        response = Response()
        httptools.HttpResponseParser(response).feed_data(data)
        return [response.body]

    return Protocol(make_requests, make_responses, read_responses)


def http2() -> Protocol:
    """HTTP/2, any number of calls at a time."""
    client, server = ngh2.Connection(ngh2.Role.CLIENT), ngh2.Connection(ngh2.Role.SERVER)
    for each in (client, server):
        each.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: 2**20})
        each.set_local_window_size(2**24)
    fields = fields_of(URL)
    response_head: Fields = [
        (b":status", b"200"),
        (b"server", b"nginx/1.22.1"),
        (b"date", b"Sat, 28 Nov 2026 17:00:00 GMT"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(RESPONSE_BODY)),
    ]

    def make_requests(calls: int) -> bytes:
        for _ in range(calls):
            stream = client.send_request([*fields, (b"content-length", b"%d" % len(REQUEST_BODY))])
            client.send_data(stream, REQUEST_BODY, end_stream=True)
        return client.data_to_send()

    def make_responses(request: bytes, calls: int) -> list[bytes]:
        server.receive_data(request)
        records = [server.data_to_send()]
        for event in server.events():
            if isinstance(event, ngh2.RequestReceived):
                server.send_response(event.stream_id, response_head)
                records.append(server.data_to_send())
                server.send_data(event.stream_id, RESPONSE_BODY, end_stream=True)
                records.append(server.data_to_send())
        return list(filter(None, records))

    def read_responses(data: bytes) -> list[bytes]:
        parts: dict[int, list[bytes]] = {}
        bodies = []
        client.receive_data(data)
        for event in client.events():
            if isinstance(event, ngh2.DataReceived):
                parts.setdefault(event.stream_id, []).append(event.data)
            elif isinstance(event, ngh2.StreamClosed):
                bodies.append(b"".join(parts.pop(event.stream_id)))
        return bodies

    return Protocol(make_requests, make_responses, read_responses)
