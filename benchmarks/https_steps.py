"""How long does each step of a call over https take, with HTTP/1.1 and with HTTP/2?

    python benchmarks/https_steps.py [--repeats 5] [--json FILE] [--quick]

One thread runs client and server and measures the steps of the client, with the libraries that headrace uses
and nothing else. The server's answers have the same TLS records as nginx: one with HTTP/1.1, and two with
HTTP/2, for head and body. No other process waits at the socket, so the cost of waking one is not included.
Each figure is the median of all turns.
"""

from __future__ import annotations

import itertools
import socket
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.in_memory_https import (
    RESPONSE_BODY,
    Protocol,
    TlsContexts,
    create_contexts,
    http1,
    http2,
    shake_hands,
)
from benchmarks.question import argument_parser, report_result
from benchmarks.rounds import Entry, Figures, Round

NAME = "https_steps"
TITLE = "The steps of a call over https"
TOGETHER = 100
"""Number of calls that share a connection."""

TURNS, QUICK_TURNS = 500, 5
HANDSHAKES, QUICK_HANDSHAKES = 100, 2
STEPS = (
    "encode the request: a head, or HPACK and frames",
    "encrypt it",
    "send it",
    "receive the response",
    "decrypt it",
    "parse it: llhttp, or libnghttp2",
)


def connected() -> tuple[socket.socket, socket.socket]:
    """The two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server = listener.accept()[0]
    for each in (client, server):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
    return client, server


def timed(contexts: TlsContexts, protocol: Protocol, calls: int, turns: int) -> list[float]:
    """Microseconds per call of each of `STEPS`, with this number of calls per turn."""
    client, server, _ = shake_hands(contexts)
    ours, theirs = connected()
    taken: list[list[float]] = [[] for _ in STEPS]
    clock = time.perf_counter
    with ours, theirs:
        for _ in range(turns):
            marks = [clock()]
            request = protocol.make_requests(calls)
            marks.append(clock())
            records = client.encrypt(request)
            marks.append(clock())
            ours.sendall(records)
            marks.append(clock())
            answers = protocol.make_responses(server.decrypt(received(theirs, len(records))), calls)
            sent = b"".join(map(server.encrypt, answers))
            theirs.sendall(sent)
            began = clock()
            got = received(ours, len(sent))
            marks.append(marks[-1] + clock() - began)
            began = clock()
            data = client.decrypt(got)
            marks.append(marks[-1] + clock() - began)
            began = clock()
            bodies = protocol.read_responses(data)
            marks.append(marks[-1] + clock() - began)
            if bodies != [RESPONSE_BODY] * calls:
                raise ValueError(f"{len(bodies)} of {calls} answers are valid")
            for step, (start, end) in zip(taken, itertools.pairwise(marks), strict=True):
                step.append(end - start)
    return [statistics.median(each) / calls * 1e6 for each in taken]


def received(end: socket.socket, size: int) -> bytes:
    """Read this number of bytes."""
    parts = []
    while size:
        part = end.recv(2**16)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def handshakes(contexts: TlsContexts, number: int) -> tuple[float, float]:
    """Microseconds of the client in a full handshake, and in one that resumes a session."""
    full, resumed = [], []
    for _ in range(number):
        client, _, seconds = shake_hands(contexts)
        full.append(seconds)
        client.decrypt(b"")  # reads the session tickets
        again, _, seconds = shake_hands(contexts, client.session.session)
        if not again.session.session_reused:
            raise ValueError("the session was not resumed")
        resumed.append(seconds)
    return statistics.median(full) * 1e6, statistics.median(resumed) * 1e6


def measure(turns: int, shaken: int) -> Round:
    """Measure all steps once."""
    contexts = create_contexts()
    columns = [
        timed(contexts, http1(), 1, turns),
        timed(contexts, http2(), 1, turns),
        timed(contexts, http2(), TOGETHER, max(turns // 10, 2)),
    ]
    rows: dict[str, Iterable[float]] = dict(zip(STEPS, zip(*columns, strict=True), strict=True))
    rows["total"] = [sum(column) for column in columns]
    full, resumed = handshakes(contexts, shaken)
    rows["additionally in a cold burst: a handshake"] = (full, full, full / TOGETHER)
    rows["or a handshake that resumes a session"] = (resumed, resumed, resumed / TOGETHER)
    return {Entry("a call", name, ""): figures(values) for name, values in rows.items()}


def figures(values: Iterable[float]) -> Figures:
    """A row of the table."""
    return dict(zip(("http1_us", "alone_us", "many_us"), (round(value, 2) for value in values), strict=True))


def main() -> None:
    """Run the script as a command."""
    args = argument_parser(NAME, __doc__ or "", repeats=5).parse_args()
    sizes = (QUICK_TURNS, QUICK_HANDSHAKES) if args.quick else (TURNS, HANDSHAKES)
    rounds = [measure(*sizes) for _ in range(args.repeats)]
    report_result(NAME, TITLE, (), rounds, {}, "none", args)


if __name__ == "__main__":
    main()
