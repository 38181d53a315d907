"""The edge of HTTP: what httpx, aiohttp and urllib3 all accept is accepted, what all reject is rejected."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

import aiohttp
import anyio
import httpx
import pytest
import urllib3
from tests.transports.http1.odd_responses import ODD

from headrace import CallError, Client, InvalidReply, StatusError

Taken: TypeAlias = tuple[int, bytes]

CONTEXT = ssl.create_default_context()  # made once, because it takes longer than a test

REFUSED_ALL_THE_SAME = {
    "encoding: compress": "a known encoding; the others return its bytes undecoded",
    "encoding: gzip cut": "a body cut short must not pass for a whole one",
}
"""What the three accept alike and headrace rejects, and why."""


@contextmanager
def serving(answer: bytes) -> Iterator[str]:
    """The URL of a server that sends these bytes on every connection and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, answer))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, answer: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the listener is closed
        with connection, suppress(OSError):
            connection.settimeout(10)
            received = b""
            while b"\r\n\r\n" not in received and (more := connection.recv(65536)):
                received += more
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.5)  # for a client that does not close its end
            while connection.recv(65536):
                pass


def by_httpx(url: str) -> Taken:
    with httpx.Client(trust_env=False, timeout=5, verify=CONTEXT) as client:
        response = client.get(url)
        return response.status_code, response.content


def by_urllib3(url: str) -> Taken:
    with urllib3.PoolManager(retries=False, timeout=5) as pool:
        response = pool.request("GET", url, redirect=False)
        return response.status, response.data


def by_aiohttp(url: str) -> Taken:
    async def get() -> Taken:
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status, await response.read()

    return asyncio.run(get())


PEERS: list[tuple[Callable[[str], Taken], type[Exception]]] = [
    (by_httpx, httpx.HTTPError),
    (by_aiohttp, aiohttp.ClientError),
    (by_urllib3, urllib3.exceptions.HTTPError),
]


@functools.cache
def results_of_peers(name: str) -> list[Taken | None]:
    """How each of the three reads a response, None if it rejects it."""
    results: list[Taken | None] = []
    with serving(ODD[name]) as url:
        for get, refusal in PEERS:
            try:
                results.append(get(url))
            except (refusal, ValueError, OverflowError):
                results.append(None)
    return results


def by_headrace(answer: bytes, backend: str) -> Taken | None:
    async def get() -> Taken | None:
        async with Client(base_url=url, policies=[], transport="native", timeout=5) as client:
            try:
                reply = await client.request("GET", "/")
            except InvalidReply as error:  # which no transport decides
                return 200, error.partial.content if error.partial else b""
            except StatusError as error:
                return error.status, error.body
            except CallError:
                return None
            return reply.status, reply.content

    with serving(answer) as url:
        return anyio.run(get, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", ODD)
def test_headrace_agrees_where_the_peers_agree(name: str, backend: str) -> None:
    ours, theirs = by_headrace(ODD[name], backend), results_of_peers(name)
    if name in REFUSED_ALL_THE_SAME:
        assert ours is None
        assert None not in theirs, "the reason no longer exists"
    elif len(set(theirs)) == 1:
        assert ours == theirs[0]
    else:
        assert ours is None or ours in theirs
