"""An endpoint repeats the key anywhere in a response, with any escaping: no error shows it."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import pytest

from headrace import CallError, Client, HeadraceError, Timeout
from headrace.transports.httpx import HttpxTransport
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve

SECRET = "QwErTzUi-OpAsDfGh_YxCvBnM"
KEY = f"sk-proj-{SECRET}"

ESCAPINGS: dict[str, Callable[[str], str]] = {
    "part": lambda key: key[10:19],
    "unicode": lambda key: "".join(f"\\u{ord(each):04x}" for each in key),
    "punctuation": lambda key: key.replace("-", "\\u002D").replace("_", "\\_"),
    "percent": lambda key: key.replace("-", "%2D").replace("_", "%5f"),
}

OK = b"HTTP/1.1 200 OK\r\n"
JSON = b"Content-Type: application/json\r\n"
EVENTS = b"Content-Type: text/event-stream\r\n"


def whole(content: bytes, head: bytes = OK + JSON) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(content), content)


def chat(text: str, finish: str = "stop") -> bytes:
    choice = f'{{"message": {{"content": "{text}"}}, "finish_reason": "{finish}"}}'
    return f'{{"model": "{text}", "choices": [{choice}]}}'.encode()


ANSWERS: dict[str, Callable[[str], bytes]] = {
    "status line": lambda text: f"HTTP/1.1 {text}\r\n\r\n".encode(),
    "protocol": lambda text: f"{text} 200 OK\r\n\r\n".encode(),
    "header": lambda text: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {text}\r\n\r\n".encode(),
    "encoding": lambda text: whole(b"x", OK + f"Content-Encoding: {text}\r\n".encode()),
    "chunk": lambda text: OK + f"Transfer-Encoding: chunked\r\n\r\n{text}\r\n".encode(),
    "cut": lambda text: OK + b"Content-Length: 9999\r\n\r\n" + text.encode(),
    "error": lambda text: whole(
        f'{{"error": {{"message": "bad {text}", "code": "{text}"}}}}'.encode(),
        f"HTTP/1.1 400 Oh\r\nX-Request-Id: {text}\r\nLocation: {text}\r\n".encode(),
    ),
    "error at the limit": lambda text: whole(
        f'{{"error": {{"message": "{"x" * 980} {text}"}}}}'.encode(), b"HTTP/1.1 500 Oh\r\n"
    ),
    "html error": lambda text: whole(f"<p>{'x' * 180} {text}".encode(), b"HTTP/1.1 502 Oh\r\n"),
    "no json": lambda text: whole(f"{'x' * 170} {text}".encode()),
    "broken json": lambda text: whole(f'{{"{text}": '.encode()),
    "not utf-8": lambda text: whole(b'{"error": "\xff\xfe%b"}' % text.encode()),
    "error in a success": lambda text: whole(f'{{"error": "no {text}", "model": "{text}"}}'.encode()),
    "event": lambda text: whole(f"data: [{text}]\n\n".encode(), OK + EVENTS),
    "error event": lambda text: whole(f'event: error\ndata: {{"m": "{text}"}}\n\n'.encode(), OK + EVENTS),
    "cut stream": lambda text: whole(
        f'data: {{"choices": [{{"delta": {{"content": "{text}"}}}}]}}\n\n'.encode(), OK + EVENTS
    ),
    "answer": lambda text: whole(chat(f"no {text}")),
    "refusal": lambda text: whole(chat(text, "content_filter")),
    "cut answer": lambda text: whole(chat(text, "length")),
}

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning"),  # see test_all_transports.py
]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def texts_of(error: HeadraceError) -> Iterator[tuple[str, str]]:
    """Everything that an error says, with its place."""
    yield "pickle", pickle.dumps(error).decode("latin-1")
    for each in chain(error):
        yield "str", str(each)
        yield "repr", repr(each)
        yield "attributes", repr(vars(each))
        summary = traceback.TracebackException.from_exception(each, capture_locals=True)
        for frame in summary.stack:
            if "/tests/" not in frame.filename:
                yield from ((f"{frame.name}: {name}", value) for name, value in (frame.locals or {}).items())
    partial = getattr(error, "partial", None)
    if partial is not None:
        yield "partial", repr((partial.content, partial.headers.raw, partial))


def shown(text: str) -> bool:
    """Whether 8 consecutive characters of the key are in it, raw or unescaped."""
    for escaping in ESCAPINGS.values():
        windows = [SECRET[at : at + 8] for at in range(len(SECRET) - 7)]
        if any(escaping(window) in text for window in windows if len(escaping(window)) >= 8):
            return True
    return False


async def failures(client: Client) -> list[HeadraceError]:
    """The errors of a whole call, of a call with a type, and of a stream; empty if one succeeds."""
    found: list[HeadraceError] = []
    for answer in (None, Literal["a", "b"]):
        try:
            await client.chat("x", answer=answer)
        except CallError as error:
            found.append(error)
    try:
        async with client.stream("x") as stream:
            async for _ in stream:
                pass
    except CallError as error:
        found.append(error)
    return found


@pytest.mark.parametrize("kind", [NativeTransport, HttpxTransport])
@pytest.mark.parametrize("where", ANSWERS)
async def test_no_error_shows_a_key_that_the_endpoint_repeats(
    serve: Serve, connect: Callable[..., Client], caplog: pytest.LogCaptureFixture, kind: Any, where: str
) -> None:
    caplog.set_level(logging.DEBUG, "headrace")
    escaping = next(iter(ESCAPINGS))
    failed = set()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ANSWERS[where](ESCAPINGS[escaping](KEY)))

    async with serve(script) as server:
        client = connect(server, api_key=KEY, transport=kind(), timeout=Timeout(5.0))
        async with client:
            for escaping in ESCAPINGS:
                for error in await failures(client):
                    failed.add(escaping)
                    leaks = {(place, text) for place, text in texts_of(error) if shown(text)}
                    assert not leaks, (escaping, error)
    assert failed == set(ESCAPINGS), "no error was checked"
    assert not shown(caplog.text)
