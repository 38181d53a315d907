"""openai's SDK returns the same responses and errors with its own client and with headrace."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import httpx
import httpx2
import pytest

from headrace.integrations import httpx as for_httpx
from headrace.integrations import httpx2 as for_httpx2

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Seen, Serve

openai = pytest.importorskip("openai")

pytestmark = [
    pytest.mark.anyio,
    # About the SDK's own generators: trio warns if they are not read to the end.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_ON_HTTPX = issubclass(openai.DefaultAsyncHttpxClient, httpx.AsyncClient)
THROUGH: Callable[..., Any] = for_httpx.async_client if _ON_HTTPX else for_httpx2.async_client

FAILURES = (openai.OpenAIError, httpx.HTTPError, httpx2.HTTPError)
JSON = "Content-Type: application/json"
SSE = "Content-Type: text/event-stream"
AUDIO = "Content-Type: audio/mpeg"
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hallo"}]}
SPOKEN = {"model": "m", "voice": "v", "input": "Hallo"}
COMPLETION = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Gruss"}, "finish_reason": "stop"}
        ],
    }
).encode()
CHUNKS = [
    json.dumps(
        {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
        }
    )
    for text in ("Gr", "uss")
]
EVENTS = "".join(f"data: {data}\n\n" for data in [*CHUNKS, "[DONE]"]).encode()

Use: TypeAlias = Callable[[Any], Awaitable[Any]]
Answer: TypeAlias = Callable[["Peer", "Seen"], Awaitable[None]]


def whole(body: bytes, *headers: str, status: str = "200 OK") -> Answer:
    async def answer(peer: Peer, seen: Seen) -> None:
        await peer.answer(body, "X-Request-Id: r1", *headers, status=status)

    return answer


def moved(status: str, then: Answer) -> Answer:
    async def answer(peer: Peer, seen: Seen) -> None:
        if seen.target == "/v1/there":
            await then(peer, seen)
        else:
            await peer.answer(b"moved", "Location: /v1/there", status=status)

    return answer


def cut(sent: bytes) -> Answer:
    async def answer(peer: Peer, seen: Seen) -> None:
        await peer.send(sent)
        await peer.close()

    return answer


async def in_pieces(peer: Peer, seen: Seen) -> None:
    await peer.send(f"HTTP/1.1 200 OK\r\n{AUDIO}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    for piece in (b"ID3", b"abc", b"def"):
        await peer.send(b"3\r\n%b\r\n" % piece)
    await peer.send(b"0\r\n\r\n")


def shown(response: Any) -> list[Any]:
    """What a response shows. Its elapsed time differs, so only its type is compared."""
    own = response.http_response if hasattr(response, "http_response") else response
    headers = {name: value for name, value in own.headers.items() if name != "transfer-encoding"}
    if "transfer-encoding" in own.headers:
        headers.pop("content-length", None)
    history = [each.status_code for each in own.history]
    return [own.status_code, own.reason_phrase, headers, own.url.path, history, own.elapsed.days]


async def raw_response(client: Any) -> Any:
    raw = await client.chat.completions.with_raw_response.create(**ASKED)
    return [*shown(raw), raw.elapsed.days, raw.parse().choices[0].message.content]


async def streaming_response(client: Any) -> Any:
    async with client.chat.completions.with_streaming_response.create(**ASKED) as response:
        text = (await response.parse()).choices[0].message.content
    return [*shown(response), text]


async def streaming_bytes(client: Any) -> Any:
    async with client.audio.speech.with_streaming_response.create(**SPOKEN) as response:
        content = b"".join([part async for part in response.iter_bytes()])
    return [*shown(response), content]


async def streaming_lines(client: Any) -> Any:
    async with client.files.with_streaming_response.content("f1") as response:
        lines = [line async for line in response.iter_lines()]
    return [*shown(response), lines]


async def whole_bytes(client: Any) -> Any:
    answer = await client.audio.speech.create(**SPOKEN)
    return [answer.content, await answer.aread(), [part async for part in await answer.aiter_bytes()]]


async def chat(client: Any) -> Any:
    return (await client.chat.completions.create(**ASKED)).choices[0].message.content


async def chunks(client: Any) -> Any:
    stream = await client.chat.completions.create(**ASKED, stream=True)
    texts = [chunk.choices[0].delta.content async for chunk in stream]
    await stream.close()
    return [*shown(stream.response), texts]


async def raw_chunks(client: Any) -> Any:
    raw = await client.chat.completions.with_raw_response.create(**ASKED, stream=True)
    texts = [chunk.choices[0].delta.content async for chunk in raw.parse()]
    return [raw.status_code, dict(raw.headers), texts]


async def one_line_of_a_stream(client: Any) -> Any:
    async with client.chat.completions.with_streaming_response.create(**ASKED, stream=True) as response:
        line = await anext(response.iter_lines())
    return [*shown(response), line]


ERROR = b'{"error": {"message": "no", "code": "c", "type": "t"}}'
CASES: dict[str, tuple[Use, Answer]] = {
    "raw": (raw_response, whole(COMPLETION, JSON)),
    "parsed from a stream": (streaming_response, whole(COMPLETION, JSON)),
    "bytes": (streaming_bytes, in_pieces),
    "bytes read whole": (whole_bytes, in_pieces),
    "lines": (streaming_lines, whole(b"a\nb\r\n\nc", "Content-Type: text/plain")),
    "no content": (streaming_lines, whole(b"", status="204 No Content")),
    "chunks": (chunks, whole(EVENTS, SSE)),
    "chunks by way of raw": (raw_chunks, whole(EVENTS, SSE)),
    "left early": (one_line_of_a_stream, whole(EVENTS, SSE)),
    "400": (chat, whole(ERROR, JSON, status="400 No")),
    "401, not JSON": (chat, whole(b"who are you?", status="401 No")),
    "429 on a stream": (chunks, whole(ERROR, JSON, status="429 Slow")),
    "500 on bytes": (streaming_bytes, whole(b"", status="500 No")),
    "304": (chat, whole(b"", status="304 As Before")),
    "closed": (chat, cut(b"")),
    "closed on a stream": (chunks, cut(b"")),
    "cut": (chat, cut(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")),
    "bytes cut": (streaming_bytes, cut(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nID3")),
    "chunks cut": (chunks, cut(f"HTTP/1.1 200 OK\r\n{SSE}\r\nContent-Length: 999\r\n\r\ndata:".encode())),
    "redirect to nowhere": (chat, whole(b"", status="307 Moved")),
    "redirect to no URL": (chat, whole(b"", "Location: http://[", status="307 Moved")),
    "redirect to itself": (chat, whole(b"", "Location: /v1/chat/completions", status="307 Moved")),
    "redirect to another protocol": (chat, whole(b"", "Location: ftp://127.0.0.1/", status="308 Moved")),
}
for _status in ("301 Moved", "302 Found", "303 See", "307 Moved", "308 Moved"):
    CASES[f"{_status[:3]}, raw"] = (raw_response, moved(_status, whole(COMPLETION, JSON)))
    CASES[f"{_status[:3]}, chunks"] = (chunks, moved(_status, whole(EVENTS, SSE)))
    CASES[f"{_status[:3]}, bytes"] = (streaming_bytes, moved(_status, in_pieces))


@pytest.mark.parametrize("case", CASES)
async def test_openai_shows_the_same_as_with_its_own_client(serve: Serve, case: str) -> None:
    use, answer = CASES[case]

    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            await answer(peer, seen)

    found = []
    for http_client in (openai.DefaultAsyncHttpxClient(), THROUGH(policies=[], max_in_flight=1)):
        async with (
            serve(script) as server,
            openai.AsyncOpenAI(
                api_key="k", base_url=server.url, http_client=http_client, max_retries=0, timeout=5
            ) as client,
        ):
            for _ in range(2):
                try:
                    found.append(await use(client))
                except FAILURES as error:
                    found.append([type(error).__name__, getattr(error, "body", None)])
            found.append([(seen.method, seen.target, seen.body) for seen in server.requests])
    own, ours = found[:3], found[3:]
    assert ours == own


async def test_openai_may_stream_more_than_it_may_read_as_a_whole(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_MAX_RESPONSE_BYTES", "1000")

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(b"x" * 100_000, "Content-Type: application/octet-stream")

    http_client = THROUGH(policies=[])
    async with (
        serve(script) as server,
        openai.AsyncOpenAI(
            api_key="k", base_url=server.url, http_client=http_client, max_retries=0
        ) as client,
    ):
        async with client.files.with_streaming_response.content("f1") as response:
            assert len(await response.read()) == 100_000
        with pytest.raises(openai.APIConnectionError) as caught:
            await client.files.content("f1")
        assert "read it as a stream" in str(caught.value.__cause__)


async def test_openai_delivers_events_as_the_first_bytes_arrive(serve: Serve) -> None:
    received = anyio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(f"HTTP/1.1 200 OK\r\n{AUDIO}\r\nContent-Length: 6\r\n\r\nID3".encode())
        await received.wait()
        await peer.send(b"abc")

    async with (
        serve(script) as server,
        openai.AsyncOpenAI(
            api_key="k", base_url=server.url, http_client=THROUGH(policies=[]), max_retries=0
        ) as client,
        client.audio.speech.with_streaming_response.create(**SPOKEN) as response,
    ):
        parts = response.iter_bytes()
        assert await anext(parts) == b"ID3"
        received.set()
        assert [part async for part in parts] == [b"abc"]
