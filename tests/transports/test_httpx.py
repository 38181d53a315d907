"""The transport over clients of httpx and httpx2: proxies, and settings of a user's own client."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

from headrace import Client, ConnectError, Endpoint, ReplyTooLarge, SettingsError
from headrace.testing.server import endpoint_process
from headrace.transports.httpx import HttpxTransport

if TYPE_CHECKING:
    from tests.transports.conftest import Connect, Peer, Serve

URL = "http://llm.test/v1"


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.anyio
async def test_a_client_with_its_own_transport_works(library: Any) -> None:
    def handle(request: Any) -> Any:
        return library.Response(200, json={"path": request.url.path}, headers={"x-a": "b"})

    client = library.AsyncClient(transport=library.MockTransport(handle))
    async with Client(base_url=URL, policies=[], transport=HttpxTransport(client)) as one:
        reply = await one.request("GET", "/a")
        assert (reply.body, reply.headers["x-a"]) == ({"path": "/v1/a"}, "b")
    assert client.is_closed


@pytest.mark.anyio
async def test_the_size_limit_applies_to_responses_that_are_already_read(library: Any) -> None:
    def handle(request: Any) -> Any:
        return library.Response(200, content=b"x" * 1001)

    transport = HttpxTransport(
        library.AsyncClient(transport=library.MockTransport(handle)), max_response_bytes=1000
    )
    async with Client(base_url=URL, policies=[], transport=transport) as client:
        with pytest.raises(ReplyTooLarge):
            await client.request("GET", "/a")


@pytest.mark.anyio
async def test_a_client_subclass_with_its_own_settings_works(
    serve: Serve, connect: Connect, library: Any
) -> None:
    class Own(library.AsyncClient):  # type: ignore[misc]
        pass

    context = ssl.create_default_context()
    own = Own(verify=context, headers={"X-Own": "1"}, params={"api-version": "2"}, follow_redirects=True)
    async with serve() as server, connect(server, transport=HttpxTransport(own)) as client:
        await client.request("POST", "/a", {})
    (seen,) = server.requests
    assert seen.target == "/v1/a?api-version=2"
    assert seen.headers["x-own"] == "1"


@pytest.mark.parametrize("wrong", [5, "httpx", object(), httpx.Client])
def test_an_object_that_is_not_a_client_is_rejected(wrong: Any) -> None:
    with pytest.raises(SettingsError, match="must be an AsyncClient of httpx or httpx2"):
        HttpxTransport(wrong)


def test_a_blocking_client_is_rejected(library: Any) -> None:
    with (
        library.Client() as client,
        pytest.raises(SettingsError, match="must be an AsyncClient of httpx or httpx2"),
    ):
        HttpxTransport(client)


@pytest.mark.anyio
async def test_a_proxy_of_the_environment_is_used(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def proxy(peer: Peer) -> None:
        while seen := await peer.request():
            await peer.answer(b'{"via":"%s"}' % seen.target.encode())

    async with serve(proxy) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.port}")
        async with connect(server, base_url=URL, api_key="sk-test", insecure=True) as client:
            reply = await client.request("POST", "/a", {})
        assert reply.body == {"via": f"{URL}/a"}
        assert server.requests[0].headers["host"] == "llm.test"


@pytest.mark.anyio
async def test_a_host_without_a_proxy_is_contacted_directly(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as proxy, serve() as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        for transport in (None, "httpx"):
            async with connect(server, transport=transport) as client:
                assert (await client.request("POST", "/a", {})).body == {"target": "/v1/a"}
        assert proxy.accepted == 0


@pytest.mark.anyio
async def test_an_unreachable_proxy_is_a_connect_error(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as stopped:
        pass
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{stopped.port}")
    async with connect(stopped, base_url=URL) as client:
        with pytest.raises(ConnectError) as caught:
            await client.request("POST", "/a", {})
        assert caught.value.retryable


@pytest.mark.anyio
async def test_an_unknown_proxy_scheme_is_a_settings_error(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "gopher://127.0.0.1:1")
    async with serve() as server, connect(server, base_url=URL) as client:
        with pytest.raises(SettingsError, match="the environment's proxies"):
            await client.request("POST", "/a", {})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("client_says", "endpoint_says", "spoken"),
    [("auto", None, "HTTP/1.1"), (True, None, "HTTP/2"), (True, False, "HTTP/1.1"), (False, True, "HTTP/2")],
)
async def test_http2_is_used_if_requested(
    client_says: Any, endpoint_says: Any, spoken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with endpoint_process(tls=True) as process:
        monkeypatch.setenv("SSL_CERT_FILE", str(process.authority))
        endpoint = Endpoint(process.base_url, http2=endpoint_says)
        async with Client(
            endpoints=[endpoint], model="m", policies=[], transport="httpx", http2=client_says
        ) as client:
            assert (await client.chat("Hallo")).http_version == spoken
            async with client.stream("Hallo") as stream:
                async for _ in stream:
                    pass
            assert stream.reply.http_version == spoken


def test_http2_without_h2_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.transports.httpx.transport.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'httpx\[http2\]'"):
        Client(base_url=URL, model="m", policies=[], transport="httpx", http2=True)
    HttpxTransport(http2="auto")
