"""HTTP proxies: tunnels for https, whole URLs for http, and misbehaving proxies."""

from __future__ import annotations

import base64
import ssl
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc
import pytest
from tests.transports.conftest import server_context
from tests.transports.http2.http2_server import Http2Peer

from headrace import CallTimeout, Client, ProxyError, Timeout, TLSError
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import trustme
    from tests.transports.conftest import Peer, RawServer, Serve

pytestmark = pytest.mark.anyio

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
PASSWORD = "canary-p@ss"
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()


class Relay:
    """A proxy that forwards everything, for any host, to ``port`` of this machine."""

    def __init__(self, port: int = 0) -> None:
        self.port = port

    async def __call__(self, peer: Peer) -> None:
        seen = await peer.request()
        if seen is None:
            return
        assert seen.method == "CONNECT"
        async with await anyio.connect_tcp("127.0.0.1", self.port) as there:
            await peer.send(ESTABLISHED)
            async with anyio.create_task_group() as group:
                group.start_soon(self._pass_on, there, peer.stream, group.cancel_scope)
                await self._pass_on(peer.stream, there, group.cancel_scope)

    @staticmethod
    async def _pass_on(
        source: anyio.abc.ByteStream, target: anyio.abc.ByteStream, scope: anyio.CancelScope
    ) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await target.send(await source.receive())
        scope.cancel()


def proxy_url(proxy: RawServer, user: str = "") -> str:
    return f"http://{user}127.0.0.1:{proxy.port}"


@pytest.fixture
def through(trusting: ssl.SSLContext) -> Callable[..., Client]:
    """``through(proxy, url)``: a client that uses a proxy, with or without credentials."""

    def make(proxy: RawServer, url: str, user: str = "", **keywords: Any) -> Client:
        transport = NativeTransport(ssl_context=trusting, proxy=proxy_url(proxy, user))
        usual: dict[str, Any] = {"model": "m", "policies": [], "timeout": 10.0, "insecure": True}
        usual |= {"base_url": url, "transport": transport, "api_key": "sk-key"}
        return Client(**usual | keywords)

    return make


@pytest.mark.parametrize("user", ["", "me:canary-p%40ss@"])
async def test_an_https_endpoint_is_reached_through_a_tunnel(
    serve: Serve, through: Callable[..., Client], authority: trustme.CA, user: str
) -> None:
    relay = Relay()
    async with serve(context=server_context(authority, "llm.test")) as server, serve(relay) as proxy:
        relay.port = server.port
        async with through(proxy, "https://llm.test:8443/v1", user) as client:
            for name in ("a", "b"):
                assert (await client.request("POST", f"/{name}", {})).body == {"target": f"/v1/{name}"}
        assert server.accepted == 1
    (request,) = proxy.requests
    assert (request.method, request.target) == ("CONNECT", "llm.test:8443")
    assert request.headers["host"] == "llm.test:8443"
    assert request.headers.get("proxy-authorization") == (f"Basic {BASIC}" if user else None)
    assert "authorization" not in request.headers, "the proxy must not see the endpoint's key"
    assert all("proxy-authorization" not in seen.headers for seen in server.requests)


async def test_http2_is_spoken_inside_a_tunnel(
    serve: Serve, through: Callable[..., Client], authority: trustme.CA
) -> None:
    async def script(peer: Peer) -> None:
        await (await Http2Peer(peer).begin()).answer_all()

    context, relay = server_context(authority, "llm.test"), Relay()
    context.set_alpn_protocols(["h2"])
    async with serve(script, context) as server, serve(relay) as proxy:
        relay.port = server.port
        async with through(proxy, "https://llm.test/v1") as client:
            reply = await client.request("GET", "/models")
    assert (reply.http_version, reply.body) == ("HTTP/2", {"target": "/v1/models"})
    assert [seen.target for seen in proxy.requests] == ["llm.test:443"]


@pytest.mark.parametrize("user", ["", "me:canary-p%40ss@"])
async def test_a_request_to_an_http_endpoint_contains_the_whole_url(
    serve: Serve, through: Callable[..., Client], user: str
) -> None:
    async with serve() as proxy:
        async with through(proxy, "http://llm.test:8000/v1", user) as client:
            for name in ("a", "b"):
                reply = await client.request("POST", f"/{name}", {})
                assert reply.body == {"target": f"http://llm.test:8000/v1/{name}"}
        assert proxy.accepted == 1
    for seen in proxy.requests:
        assert seen.headers["host"] == "llm.test:8000"
        assert seen.headers["authorization"] == "Bearer sk-key"
        assert seen.headers.get("proxy-authorization") == (f"Basic {BASIC}" if user else None)


async def test_the_endpoints_certificate_is_verified(
    serve: Serve, through: Callable[..., Client], authority: trustme.CA
) -> None:
    relay = Relay()
    async with serve(context=server_context(authority, "other.test")) as server, serve(relay) as proxy:
        relay.port = server.port
        async with through(proxy, "https://llm.test/v1") as client:
            with pytest.raises(TLSError, match=r"llm\.test"):
                await client.request("POST", "/a", {})
        assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "message", "retryable"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
            "requires .*cred",
            False,
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!",
            "does not open a tunnel to llm.test:443: .*403",
            False,
        ),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "status 404", False),
        (b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere\r\n\r\n", "status 302", False),
        (b"HTTP/1.1 429 Too Many Requests\r\n\r\n", "status 429", True),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "status 502", True),
        (b"HTTP/1.0 503 Service Unavailable\n\n", "status 503", True),
        (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", "status 504", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 502 Bad Gateway\r\n\r\n", "status 502", True),
        (b"", "closed the connection before it answered", True),
        (b"HTTP/1.1 200 OK\r\nX: ", "closed the connection before it answered", True),
        (b"SSH-2.0-OpenSSH_9\r\n", "does not speak HTTP", False),
        (b"\x05\xff", "does not speak HTTP", False),
        (b"RTSP/1.0 200 OK\r\n\r\n", "does not speak HTTP", False),
        (b"HTTP/2 200\r\n\r\n", "does not speak HTTP", False),
        (b"HTTP/1.1 2OO OK\r\n\r\n", "does not speak HTTP", False),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "sends data before the endpoint can", False),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "more than 65536 bytes of headers", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "more than 65536 bytes of headers", False),
    ],
)
@pytest.mark.parametrize("user", ["", "me:canary-p%40ss@"])
async def test_a_proxy_that_opens_no_tunnel_is_an_error_that_names_it(
    serve: Serve, through: Callable[..., Client], answer: bytes, message: str, retryable: bool, user: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    async with serve(script) as proxy, through(proxy, "https://llm.test/v1", user) as client:
        with pytest.raises(ProxyError, match=message) as caught:
            await client.request("POST", "/a", {})
        assert f"the proxy 127.0.0.1:{proxy.port}" in str(caught.value)
        assert caught.value.retryable is retryable
        await proxy.until(lambda: proxy.open == 0)


async def test_no_credential_is_shown_even_if_the_proxy_echoes_it(
    serve: Serve, through: Callable[..., Client]
) -> None:
    async def script(peer: Peer) -> None:
        seen = await peer.request()
        assert seen is not None
        echoed = seen.headers["proxy-authorization"]
        await peer.send(f"HTTP/1.1 {statuses.pop()} {echoed} {PASSWORD}\r\n\r\n".encode())

    statuses = ["403", "502", "2OO", "407"]
    async with serve(script) as proxy, through(proxy, "https://llm.test/v1", "me:canary-p%40ss@") as client:
        for _ in range(4):
            with pytest.raises(ProxyError) as caught:
                await client.request("POST", "/a", {})
            shown = "".join(traceback.format_exception(caught.value)) + repr(client)
            assert "canary" not in shown
            assert BASIC[:8] not in shown


async def test_a_proxy_may_require_credentials_for_http(serve: Serve, through: Callable[..., Client]) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(BASIC.encode(), status="407 Proxy Authentication Required")

    async with serve(script) as proxy, through(proxy, "http://llm.test/v1", "me:canary-p%40ss@") as client:
        with pytest.raises(ProxyError, match=r"requires other credentials \(status 407\)") as caught:
            await client.request("POST", "/a", {})
        assert not caught.value.retryable


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_unreachable_proxy_is_named_instead_of_the_endpoint(
    serve: Serve, through: Callable[..., Client], scheme: str
) -> None:
    async with serve() as proxy:
        pass
    async with through(proxy, f"{scheme}://llm.test/v1", "me:canary-p%40ss@") as client:
        with pytest.raises(ProxyError, match=r"no connection to the proxy .*refused") as caught:
            await client.request("POST", "/a", {})
    assert caught.value.retryable
    assert "base_url" not in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_the_proxys_response_may_arrive_in_any_parts(
    serve: Serve, through: Callable[..., Client], authority: trustme.CA
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nVia: 1.1 somewhere\r\n\r\n"

    class InPieces(Relay):
        async def __call__(self, peer: Peer) -> None:
            send = peer.send

            async def in_pieces(data: bytes) -> None:
                for number in range(len(answer)):
                    await send(answer[number : number + 1])
                    await anyio.lowlevel.checkpoint()

            peer.send = in_pieces  # type: ignore[method-assign]
            await super().__call__(peer)

    relay = InPieces()
    async with serve(context=server_context(authority, "llm.test")) as server, serve(relay) as proxy:
        relay.port = server.port
        async with through(proxy, "https://llm.test/v1") as client:
            assert (await client.request("POST", "/a", {})).status == 200


async def test_the_connect_timeout_includes_the_proxy_and_nothing_stays_open(
    serve: Serve, through: Callable[..., Client], open_files: Callable[[], int]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        await peer.more()

    async with serve(script) as proxy:
        timeout = Timeout(10.0, connect=0.1)
        async with through(proxy, "https://llm.test/v1", timeout=timeout) as client:
            before = 0
            for _ in range(3):
                with pytest.raises(CallTimeout, match=r"connect timeout: llm\.test:443 through the proxy"):
                    await client.request("POST", "/a", {})
                await proxy.until(lambda: proxy.open == 0)
                before = before or open_files()
                assert open_files() <= before


async def test_the_environment_selects_a_proxy_for_each_url(
    serve: Serve, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    relay = Relay()
    async with (
        serve(context=server_context(authority, "127.0.0.1")) as secure,
        serve() as plain,
        serve(relay) as tunnels,
        serve() as forwards,
    ):
        relay.port = secure.port
        monkeypatch.setenv("HTTPS_PROXY", proxy_url(tunnels))
        monkeypatch.setenv("HTTP_PROXY", proxy_url(forwards))
        for server, proxy in ((secure, tunnels), (plain, forwards)):
            for excepted in ("", "127.0.0.1"):
                monkeypatch.setenv("NO_PROXY", excepted)
                before = proxy.accepted
                async with Client(base_url=server.url, model="m", policies=[]) as client:
                    await client.request("POST", "/a", {})
                assert proxy.accepted - before == (0 if excepted else 1)
        assert len(plain.requests) == 1
