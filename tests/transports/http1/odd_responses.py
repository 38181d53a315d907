"""Responses at and beyond the edge of HTTP: what some servers send, and what attackers try."""

from __future__ import annotations

import gzip

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"

ODD: dict[str, bytes] = {"plain": OK + LENGTH + b"\r\n{}"}


def _add(kind: str, answers: dict[str, bytes]) -> None:
    ODD.update({f"{kind}: {name}": answer for name, answer in answers.items()})


_add(
    "protocol",
    {
        name: name.encode() + b" 200 OK\r\n" + LENGTH + b"\r\n{}"
        for name in (
            *("HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/2", "HTTP/3.0", "HTTP/11.1", "HTTP/1.10"),
            *("http/1.1", "HTTP/ 1.1", "HTTP/1,1", "HTTPS/1.1", "XHTTP/1.1"),
            *("RTSP/1.0", "RTSP/1.1", "ICE/1.0", "ICY", "SIP/2.0"),
        )
    },
)
_add(
    "status",
    {
        repr(status): b"HTTP/1.1 " + status + b"\r\n" + LENGTH + b"\r\n{}"
        for status in (
            *(b"200", b"200 ", b"200  OK", b"200 \tOK", b" 200 OK", b"\t200 OK", b"200\tOK", b"200OK", b""),
            *(b"20 OK", b"2000 OK", b"2xx OK", b"-200 OK", b"+200 OK", b"0200 OK", b"099 OK", b"999 OK"),
            *(b"200 \x01OK", b"200 O\x00K", b"200 \xfcber", b"200 O\rK", b"200 OK\t", b"200 \x7f"),
        )
    },
)
_add(
    "before",
    {
        repr(before): before + OK + LENGTH + b"\r\n{}"
        for before in (b"\n", b"\r\n", b"\r\n\r\n", b" ", b"x\r\n", b"\x00", b"\xef\xbb\xbf", b"{}")
    },
)
_add(
    "line ends",
    {
        "LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
        "LF, no reason": b"HTTP/1.1 200\nContent-Length: 2\n\n{}",
        "LF of the status line": b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\n{}",
        "LF of headers": OK + b"A: b\nContent-Length: 2\n\n{}",
        "LF of one header": OK + b"A: b\nContent-Length: 2\r\n\r\n{}",
        "LF of the head": OK + LENGTH + b"\n{}",
        "CRLF of the head": OK + b"Content-Length: 2\n\r\n{}",
        "LF, body to the end": b"HTTP/1.1 200 OK\nA: b\n\n{}",
        "LF, chunks": b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\r\n{}\r\n0\r\n\r\n",
        "LF, also of chunks": b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\n{}\n0\n\n",
        "LF, interim": b"HTTP/1.1 100 Go\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
        "LF, folded": b"HTTP/1.1 200 OK\nX: a\n b\nContent-Length: 2\n\n{}",
        "LF, no content": b"HTTP/1.1 204 No\n\n",
        "LF, two lengths": b"HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 3\n\n{}",
        "LF, length and chunks": (
            b"HTTP/1.1 200 OK\nContent-Length: 2\nTransfer-Encoding: chunked\n\n2\r\n{}\r\n0\r\n\r\n"
        ),
        "CR": b"HTTP/1.1 200 OK\rContent-Length: 2\r\r{}",
        "CRCRLF": b"HTTP/1.1 200 OK\r\r\nContent-Length: 2\r\r\n\r\r\n{}",
        "LFCR": b"HTTP/1.1 200 OK\n\rContent-Length: 2\n\r\n\r{}",
    },
)
_add(
    "header",
    {
        repr(line): OK + line + b"\r\n" + LENGTH + b"\r\n{}"
        for line in (
            *(b"NoColon", b": x", b"X : y", b"X\t: y", b"X:y", b"X:", b"X:   ", b"X: y \t "),
            *(
                b"X: a\x01b",
                b"X: a\x08b",
                b"X: a\x1b[31mb",
                b"X: a\x1fb",
                b"X: a\x7fb",
                b"X: \x01",
                b"X: \x01a",
            ),
            *(b"X: a\x00b", b"X: a\x0bb", b"X: a\x0cb", b"X: a\rb", b"X: a\r", b"X: \rb", b"X: a\rY: b"),
            *(b"X: gr\xfc\xdf", b"X: \xc3\xbc", b"X: \xff\xfe"),
            *(b"X\x01: y", b"X\x00: y", b"X\xfc: y", b"X Y: y", b"X(: y", b"X@: y", b"X_Y: y", b'"X": y'),
            *(
                b"X: a\r\n b",
                b"X: a\r\n\tb",
                b"X: a\r\n b\r\n  c",
                b"X: a\r\n ",
                b"X:\r\n b",
                b"X: a\r\n Y: b",
            ),
            *(b" X: y", b"\tX: y", b"X: a\r\n \x01b", b"X: a\n b", b"X: a\r\n \x00b"),
        )
    },
)
_add(
    "framing",
    {
        repr(lines): OK + lines + b"\r\n\r\n{}"
        for lines in (
            *(b"Content-Length: two", b"Content-Length:", b"Content-Length: +2", b"Content-Length: -2"),
            *(b"Content-Length: 02", b"Content-Length: 0x2", b"Content-Length: 2;", b"Content-Length: 2 x"),
            *(b"Content-Length: 2.0", b"Content-Length: 0_2", b"Content-Length: \xd9\xa2"),
            *(b"Content-Length: 99999999999999999999999", b"Content-Length:\t2\t", b"Content-Length : 2"),
            *(b"Content-Length: 2, 2", b"Content-Length: 2, 3", b"Content-Length: 2\r\nContent-Length: 3"),
            *(b"Content-Length:\r\n 2", b"Content-Length: 2\r\n 3", b"Content-Length: 2\x01"),
            *(b"Content-Length: 2\r\n , 3", b"X: a\r\n b\r\nContent-Length: 2\r\nContent-Length: 3"),
            *(b"Content-Length: 5", b"X: y"),
        )
    },
)
_add(
    "framing",
    {
        repr(lines): OK + lines + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        for lines in (
            b"Transfer-Encoding: chunked\r\nContent-Length: 2",
            b"Content-Length: 2\r\nTransfer-Encoding: chunked",
            b"X: \x01\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            *(
                b"Transfer-Encoding: gzip, chunked",
                b"Transfer-Encoding: identity",
                b"Transfer-Encoding: ,chunked",
            ),
            *(
                b"Transfer-Encoding: CHUNKED",
                b"Transfer-Encoding: chunked;x=y",
                b'Transfer-Encoding: "chunked"',
            ),
            *(
                b"Transfer-Encoding:\tchunked",
                b"Transfer-Encoding: chunked\t",
                b"Transfer-Encoding: xchunked",
            ),
            *(
                b"Transfer-Encoding: \x01chunked",
                b"Transfer-Encoding: chunked\x01",
                b"Transfer-Encoding : chunked",
            ),
            *(b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: chun\r\n ked"),
        )
    },
)
_add(
    "chunk size",
    {
        repr(size): CHUNKED + size + b"\r\n{}\r\n" + LAST
        for size in (
            *(
                b"2 ",
                b"2\t",
                b"2   ",
                b" 2",
                b"\t2",
                b"2 3",
                b"02",
                b"0000000002",
                b"0x2",
                b"2h",
                b"+2",
                b"-2",
            ),
            *(b"2.0", b"2,", b"2_0", b"", b"g", b"2\x0b", b"2\x00", b"2\x01", b"2\r", b"ffffffffffffffffff"),
            *(b"2;", b"2;x", b"2;x=y", b"2 ;x", b"2; x", b"2 ; x = y", b'2;x="a b"', b"2;x=\x01", b"2;x=a b"),
        )
    },
)
_add(
    "chunks",
    {
        repr(chunks): CHUNKED + chunks
        for chunks in (
            *(b"2\n{}\r\n0\r\n\r\n", b"2\r\n{}\n0\r\n\r\n", b"2\r\n{}\r\n0\n\r\n", b"2\r\n{}\r\n0\r\n\n"),
            *(b"2\r\n{}0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n", b"2\r\n{}X\r\n0\r\n\r\n", b"2\r\n{}\r0\r\n\r\n"),
            *(b"2\r\n{}\r\n0 \r\n\r\n", b"2\r\n{}\r\n0\t\r\n\r\n", b"2\r\n{}\r\n000\r\n\r\n"),
            *(b"2\r\n{}\r\n0;x\r\n\r\n", b"2\r\n{}\r\n\r\n0\r\n\r\n"),
            *(
                b"2\r\n{}\r\n0\r\nX: y\r\n\r\n",
                b"2\r\n{}\r\n0\r\nX: y\n\n",
                b"2\r\n{}\r\n0\r\nX: \x01\r\n\r\n",
            ),
            *(b"2\r\n{}\r\n0\r\nX: y\r\n z\r\n\r\n", b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"),
            *(b"2\r\n{}\r\n", b"2\r\n{}\r\n0\r\n", b"2\r\n{"),
        )
    },
)
_add(
    "interim",
    {
        "100": b"HTTP/1.1 100 Go\r\n\r\n" + OK + LENGTH + b"\r\n{}",
        "104 with a length": b"HTTP/1.1 104 Hm\r\nContent-Length: 2\r\n\r\n" + OK + LENGTH + b"\r\n{}",
        "101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n{}",
    },
)
_add(
    "cut",
    {
        "nothing": b"",
        "status line": OK,
        "head": OK + LENGTH,
        "LF head": b"HTTP/1.1 200 OK\nContent-Length: 2\n",
        "only a body": b"{}",
    },
)
_GZIPPED = gzip.compress(b"{}", mtime=0)
_add(
    "encoding",
    {
        name: OK + b"Content-Encoding: " + name.encode() + b"\r\n" + LENGTH + b"\r\n{}"
        for name in (
            "UTF-8",
            "none",
            "",
            "identity",
            "chunked",
            "br",
            "zstd",
            "compress",
            "gzip",
            "text, none",
        )
    }
    | {
        "NULs behind gzip": OK + b"Content-Encoding: gzip\r\n\r\n" + _GZIPPED + b"\0\0\0",
        "rubbish behind gzip": OK + b"Content-Encoding: gzip\r\n\r\n" + _GZIPPED + b"rubbish",
        "gzip cut": OK + b"Content-Encoding: gzip\r\n\r\n" + _GZIPPED[:-4],
        "gzip with a wrong checksum": OK + b"Content-Encoding: gzip\r\n\r\n" + _GZIPPED[:-8] + b"12345678",
    },
)
