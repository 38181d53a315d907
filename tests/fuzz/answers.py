"""Random HTTP/1.1 responses, whole and corrupted."""

from __future__ import annotations

import gzip
import itertools
import random
import zlib

import attrs

_REASONS = (b"OK", b"", b"Not  Quite", b"\xfcberlastet")
_NAMES = (b"X-Request-Id", b"Content-Type", b"Date", b"x", b"X-RateLimit-Remaining-Requests", b"Keep-Alive")
_VALUES = (b"", b"application/json", b"a, b", b"timeout=5, max=100", b"gr\xc3\xbc\xdf", b'"x"', b"y" * 2000)
_TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"-1",
    b"+1",
    b"f" * 17,
    b"9" * 25,
    b"\r\n\r\n",
    b"\r\n folded",
    b"0\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: -5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked, gzip\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Upgrade: h2c\r\nConnection: upgrade\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
)


@attrs.frozen
class Answer:
    """A response to a request of ``method`` as bytes, and what it contains."""

    method: str
    data: bytes
    status: int
    body: bytes
    ends_with_connection: bool


def deflated(data: bytes) -> bytes:
    """Deflate as some servers write it: raw."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ENCODERS = ((b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", deflated))


def whole_answer(rng: random.Random, *, encoded: bool = True) -> Answer:
    """A valid response with any framing."""
    method = rng.choice(("POST", "POST", "POST", "GET", "HEAD"))
    status = rng.choice((200, 200, 200, 201, 204, 206, 304, 400, 429, 500, 599))
    bodiless = method == "HEAD" or status in (204, 304)
    body = b"" if bodiless else _body(rng)
    fields = [_field(rng, rng.choice(_NAMES), rng.choice(_VALUES)) for _ in range(rng.randrange(4))]
    sent = body
    if encoded and rng.random() < 0.3:
        name, encode = rng.choice(
            ((b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", deflated))
        )
        sent = encode(body) if body else b""
        fields.append(_field(rng, b"Content-Encoding", name))
    ends_with_connection = False
    framing = rng.random()
    if framing < 0.45 and status != 204:
        fields.append(_field(rng, b"Content-Length", b"%d" % (rng.randrange(9) if bodiless else len(sent))))
    elif framing < 0.85 and not bodiless:
        fields.append(_field(rng, b"Transfer-Encoding", b"chunked"))
        sent = _chunked(rng, sent)
    elif not bodiless:
        ends_with_connection = True
    if rng.random() < 0.2:
        fields.append(_field(rng, b"Connection", rng.choice((b"close", b"keep-alive"))))
    rng.shuffle(fields)
    interim = b"".join(
        b"HTTP/1.1 %d Hold on\r\n%b\r\n" % (rng.choice((100, 102, 103)), rng.choice((b"", b"Link: x\r\n")))
        for _ in range(rng.choice((0, 0, 0, 1, 2)))
    )
    head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, rng.choice(_REASONS), b"".join(fields))
    return Answer(method, interim + head + sent, status, body, ends_with_connection)


def _body(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.2:
        return b""
    if kind < 0.6:
        return b'{"choices":[{"message":{"content":"%b"}}]}' % (b"a\\n" * rng.randrange(40))
    return rng.randbytes(rng.randrange(1, 200))


def _field(rng: random.Random, name: bytes, value: bytes) -> bytes:
    name = rng.choice((name, name.lower(), name.upper()))
    return b"%b:%b%b%b\r\n" % (name, rng.choice((b" ", b"", b" \t ")), value, rng.choice((b"", b"", b"  ")))


def _chunked(rng: random.Random, body: bytes) -> bytes:
    pieces = []
    while body:
        size = rng.randrange(1, len(body) + 1)
        extension = rng.choice((b"", b"", b";x", b';x="a"', b";x=y;z"))
        digits = rng.choice((b"%x", b"%X", b"00%x")) % size
        pieces.append(b"%b%b\r\n%b\r\n" % (digits, extension, body[:size]))
        body = body[size:]
    trailers = rng.choice((b"", b"", b"X-Checksum: 1\r\n"))
    return b"".join(pieces) + b"0\r\n%b\r\n" % trailers


def corrupted(rng: random.Random, data: bytes) -> bytes:
    """One to four changes: bits flipped, bytes removed, added, cut off or repeated, another response
    appended.
    """
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        width = rng.choice((1, 1, 2, 10))
        how = rng.randrange(7)
        if how == 0 and data:
            place = min(place, len(data) - 1)
            data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        elif how == 1:
            data = data[:place] + data[place + width :]
        elif how == 2:
            data = data[:place] + rng.choice(_TOKENS) + data[place:]
        elif how == 3:
            data = data[:place] + rng.randbytes(width) + data[place:]
        elif how == 4:
            data = data[:place]
        elif how == 5:
            data = data[:place] + data[max(0, place - width * 5) :]
        else:
            data += whole_answer(rng).data
    return data


def loosened(rng: random.Random, data: bytes) -> bytes:
    """The same response with a head as sloppy servers write it; without interim responses."""
    head, _, body = data[data.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    for number, line in enumerate(lines[1:], 1):
        name, _, value = line.partition(b":")
        if name.lower() in {b"content-length", b"transfer-encoding", b"content-encoding", b"connection"}:
            continue
        value = value.replace(b" ", rng.choice((b" ", b"\r\n ", b"\n\t", b" \x01")))
        lines[number] = name + b":" + value
    ends = rng.choice(((b"\r\n",), (b"\n",), (b"\r\n", b"\n")))
    return b"".join(line + rng.choice(ends) for line in [*lines, b""]) + body


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """The same bytes in packets."""
    if rng.random() < 0.1:
        return [data[at : at + 1] for at in range(len(data))]
    edges = sorted({0, len(data), *(rng.randrange(len(data) + 1) for _ in range(rng.randrange(8)))})
    return [data[start:end] for start, end in itertools.pairwise(edges)]
