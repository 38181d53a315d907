"""Where do the microseconds of a call over https go, with HTTP/1.1 and with HTTP/2?

    python benchmarks/https_steps.py [--repeats 5] [--json FILE] [--quick]

One thread plays both sides and times each step of the client's: what a client has to do for a call, with the
libraries that headrace uses and nothing around them. The server's answers have the TLS records of nginx: one
with HTTP/1.1, and two with HTTP/2, the head and the body. Nobody waits at the other end of the socket, so
what it costs to wake another process is not in it. Each figure is the median of all turns.
"""

from __future__ import annotations

import itertools
import socket
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.both_sides import ENCODED, Contexts, Protocol, contexts, http1, http2, shake_hands
from benchmarks.question import arguments, finish
from benchmarks.rounds import Entry, Figures, Round

NAME = "https_steps"
TITLE = "The steps of a call over https"
TOGETHER = 100
"""Calls that share a connection, where there are many."""

TURNS, QUICK_TURNS = 500, 5
HANDSHAKES, QUICK_HANDSHAKES = 100, 2
STEPS = (
    "the request becomes bytes: a head, or HPACK and frames",
    "they are encrypted",
    "they are sent",
    "the answer is received",
    "it is decrypted",
    "it is parsed: llhttp, or libnghttp2",
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


def timed(both: Contexts, protocol: Protocol, calls: int, turns: int) -> list[float]:
    """Microseconds a call of each of `STEPS`, with so many calls in one turn."""
    client, server, _ = shake_hands(both)
    ours, theirs = connected()
    taken: list[list[float]] = [[] for _ in STEPS]
    clock = time.perf_counter
    with ours, theirs:
        for _ in range(turns):
            marks = [clock()]
            asked = protocol.ask(calls)
            marks.append(clock())
            records = client.encrypt(asked)
            marks.append(clock())
            ours.sendall(records)
            marks.append(clock())
            answers = protocol.answer(server.decrypt(received(theirs, len(records))), calls)
            sent = b"".join(map(server.encrypt, answers))
            theirs.sendall(sent)
            began = clock()
            got = received(ours, len(sent))
            marks.append(marks[-1] + clock() - began)
            began = clock()
            said = client.decrypt(got)
            marks.append(marks[-1] + clock() - began)
            began = clock()
            bodies = protocol.read(said)
            marks.append(marks[-1] + clock() - began)
            if bodies != [ENCODED] * calls:
                raise ValueError(f"{len(bodies)} of {calls} answers are right")
            for step, (start, end) in zip(taken, itertools.pairwise(marks), strict=True):
                step.append(end - start)
    return [statistics.median(each) / calls * 1e6 for each in taken]


def received(end: socket.socket, size: int) -> bytes:
    """So many bytes, as few reads as it takes."""
    parts = []
    while size:
        part = end.recv(2**16)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def handshakes(both: Contexts, number: int) -> tuple[float, float]:
    """Microseconds of the client's side of a handshake, and of one that resumes a session."""
    full, resumed = [], []
    for _ in range(number):
        client, _, seconds = shake_hands(both)
        full.append(seconds)
        client.decrypt(b"")  # the tickets
        again, _, seconds = shake_hands(both, client.session.session)
        if not again.session.session_reused:
            raise ValueError("the session was not resumed")
        resumed.append(seconds)
    return statistics.median(full) * 1e6, statistics.median(resumed) * 1e6


def measure(turns: int, shaken: int) -> Round:
    """All steps once."""
    both = contexts()
    columns = [
        timed(both, http1(), 1, turns),
        timed(both, http2(), 1, turns),
        timed(both, http2(), TOGETHER, max(turns // 10, 2)),
    ]
    rows: dict[str, Iterable[float]] = dict(zip(STEPS, zip(*columns, strict=True), strict=True))
    rows["together"] = [sum(column) for column in columns]
    full, resumed = handshakes(both, shaken)
    rows["in a cold burst, a handshake besides"] = (full, full, full / TOGETHER)
    rows["or one that resumes a session"] = (resumed, resumed, resumed / TOGETHER)
    return {Entry("a call", name, ""): figures(values) for name, values in rows.items()}


def figures(values: Iterable[float]) -> Figures:
    """A row of the table."""
    return dict(zip(("http1_us", "alone_us", "many_us"), (round(value, 2) for value in values), strict=True))


def main() -> None:
    """Run as a command."""
    asked = arguments(NAME, __doc__ or "", repeats=5).parse_args()
    sizes = (QUICK_TURNS, QUICK_HANDSHAKES) if asked.quick else (TURNS, HANDSHAKES)
    rounds = [measure(*sizes) for _ in range(asked.repeats)]
    finish(NAME, TITLE, (), rounds, {}, "none", asked)


if __name__ == "__main__":
    main()
