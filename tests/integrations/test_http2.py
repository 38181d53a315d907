"""The libraries' clients, and SDKs with them, over HTTP/2 through the native transport."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio
import h2.config
import h2.connection
import h2.events
import pytest
import trustme
from tests.integrations.test_sdks import HALLO, MODEL, async_client, leaves_generators, openai

from headrace import SettingsError
from headrace.integrations import hybrid_transport
from headrace.testing.server import endpoint_process
from headrace_cost import Cost
from headrace_retry import Retry

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve

Through = Callable[..., Any]
on_both = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(library: ModuleType, authority: trustme.CA) -> ssl.SSLContext:
    context: ssl.SSLContext = library.create_ssl_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def offering(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """``offering(*protocols)``: the SSL context of a server that speaks these."""

    def make(*protocols: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        context.set_alpn_protocols(list(protocols))
        return context

    return make


class Http2Peer:
    """A connection on which `h2` answers requests."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._waiting: list[int] = []
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.h2.initiate_connection()

    async def request(self) -> int:
        """The stream of the next complete request."""
        while not self._waiting:
            await self.flush()
            for event in self.h2.receive_data(await self._peer.stream.receive()):
                if isinstance(event, h2.events.StreamEnded):
                    assert event.stream_id is not None
                    self._waiting.append(event.stream_id)
        return self._waiting.pop(0)

    async def answer(self, stream: int, status: int, content: bytes) -> None:
        self.h2.send_headers(stream, [(":status", str(status)), ("content-type", "application/json")])
        self.h2.send_data(stream, content, end_stream=True)
        await self.flush()

    async def flush(self) -> None:
        await self._peer.send(self.h2.data_to_send())


@on_both
@pytest.mark.parametrize(
    ("options", "version"),
    [
        ({}, "HTTP/2"),
        ({"http2": True}, "HTTP/2"),
        ({"http2": True, "http1": False}, "HTTP/2"),
    ],
    ids=["by default", "http2", "http2 alone"],
)
async def test_the_http_version_is_reported_and_many_requests_share_a_connection(
    serve: Serve,
    through: Through,
    trusting: ssl.SSLContext,
    offering: Callable[..., ssl.SSLContext],
    options: Any,
    version: str,
) -> None:
    async def script(peer: Peer) -> None:
        speaking = Http2Peer(peer)
        await speaking.answer(await speaking.request(), 503, b"{}")
        while True:
            stream = await speaking.request()
            await speaking.answer(stream, 200 if stream < 9 else 404, b"{}")

    async with (
        serve(script, offering("h2")) as server,
        through(verify=trusting, policies=[Retry(base=0)], **options) as client,
    ):
        for _ in range(3):
            response = await client.get(f"{server.url}/a")
            assert (response.status_code, response.http_version) == (200, version)
        response = await client.get(f"{server.url}/a")
        assert (response.status_code, response.http_version) == (404, version)
        assert server.accepted == 1


@on_both
@pytest.mark.parametrize("options", [{}, {"http2": True}, {"http2": False}], ids=str)
async def test_a_server_with_http1_works_as_before(
    serve: Serve,
    through: Through,
    trusting: ssl.SSLContext,
    offering: Callable[..., ssl.SSLContext],
    options: Any,
) -> None:
    async with serve(context=offering("http/1.1")) as server, through(verify=trusting, **options) as client:
        for _ in range(2):
            assert (await client.get(f"{server.url}/a")).http_version == "HTTP/1.1"


@on_both
async def test_only_http1_is_offered_if_requested(
    serve: Serve,
    through: Through,
    trusting: ssl.SSLContext,
    offering: Callable[..., ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serve(context=offering("h2", "http/1.1")) as server:
        async with through(verify=trusting, http2=False) as client:
            assert (await client.get(f"{server.url}/a")).http_version == "HTTP/1.1"
        monkeypatch.setenv("HEADRACE_HTTP2", "false")
        async with through(verify=trusting) as client:
            assert (await client.get(f"{server.url}/a")).http_version == "HTTP/1.1"


@pytest.mark.parametrize("options", [{"http2": True}, {"http1": False}], ids=str)
def test_http2_without_ngh2_is_rejected(
    through: Through, monkeypatch: pytest.MonkeyPatch, options: Any
) -> None:
    monkeypatch.setattr(hybrid_transport, "has_http2", lambda: False)
    with pytest.raises(SettingsError, match=r"pip install 'headrace\[http2\]'"):
        through(**options)
    through(http2=False)


@on_both
async def test_events_arrive_as_the_server_sends_them(
    serve: Serve, through: Through, trusting: ssl.SSLContext, offering: Callable[..., ssl.SSLContext]
) -> None:
    """The server sends each event after the client has received the one before."""
    seen = [anyio.Event() for _ in range(4)]

    async def script(peer: Peer) -> None:
        speaking = Http2Peer(peer)
        stream = await speaking.request()
        speaking.h2.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
        await speaking.flush()
        for number, event in enumerate(seen):
            speaking.h2.send_data(stream, b"data: %d\n\n" % number)
            await speaking.flush()
            await event.wait()
        speaking.h2.end_stream(stream)
        await speaking.request()

    async with serve(script, offering("h2")) as server, through(verify=trusting) as client:
        with anyio.fail_after(10):
            async with client.stream("POST", f"{server.url}/a", json={"stream": True}) as response:
                assert response.http_version == "HTTP/2"
                lines = []
                async for line in response.aiter_lines():
                    if line:
                        lines.append(line)
                        seen[len(lines) - 1].set()
    assert lines == [f"data: {number}" for number in range(4)]


@on_both
@leaves_generators
async def test_openai_chats_and_streams_over_http2() -> None:
    cost = Cost()
    async with endpoint_process(tls=True) as endpoint:
        context = ssl.create_default_context(cafile=endpoint.authority)
        async with openai.AsyncOpenAI(
            api_key="k",
            base_url=endpoint.base_url,
            max_retries=0,
            http_client=async_client(policies=[cost], verify=context),
        ) as client:
            raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=HALLO)
            assert raw.http_response.http_version == "HTTP/2"
            whole = raw.parse().choices[0].message.content
            stream = await client.chat.completions.create(
                model=MODEL, messages=HALLO, stream=True, stream_options={"include_usage": True}
            )
            assert stream.response.http_version == "HTTP/2"
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            assert ("".join(pieces), len(pieces) > 1) == (whole, True)
            texts: list[str | None] = []

            async def ask() -> None:
                completion = await client.chat.completions.create(model=MODEL, messages=HALLO)
                texts.append(completion.choices[0].message.content)

            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(ask)
            assert texts == [whole] * 50
            with pytest.raises(openai.NotFoundError) as caught:
                await client.get("/nothing", cast_to=object)
            assert caught.value.response.http_version == "HTTP/2"
    assert cost.totals.calls == 52
