"""TLS is always verified and never downgraded, over the native transport and over httpx."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
import pytest
import trustme
from anyio.streams.tls import TLSAttribute
from tests.transports.conftest import server_context

from headrace import Client, ConnectError, TLSError
from headrace.transports.connecting.ssl_context import default_ssl_context
from headrace.transports.httpx import HttpxTransport
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.conftest import Peer, Serve

    from headrace import Transport

    Connect = Callable[..., Client]
    Make = Callable[[ssl.SSLContext], Transport]

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["native", "httpx", "httpx2"])
def make(request: pytest.FixtureRequest) -> Make:
    """A transport with the given context."""
    if request.param == "native":
        return lambda context: NativeTransport(ssl_context=context)
    client: Any = {"httpx": httpx.AsyncClient, "httpx2": httpx2.AsyncClient}[request.param]
    return lambda context: HttpxTransport(client(verify=context))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_trusted_server_gets_its_name(
    serve: Serve, connect: Connect, make: Make, authority: trustme.CA, trusting: ssl.SSLContext, host: str
) -> None:
    names: list[str | None] = []
    protocols: list[str | None] = []
    context = server_context(authority, host)
    context.sni_callback = lambda sock, name, ctx: names.append(name)

    async def script(peer: Peer) -> None:
        protocols.append(peer.stream.extra(TLSAttribute.alpn_protocol))
        await peer.answer_all()

    async with serve(script, context) as server:
        url = f"https://{host}:{server.port}/v1"
        async with connect(server, base_url=url, api_key="k", transport=make(trusting)) as client:
            for name in ("a", "b"):
                assert (await client.request("POST", f"/{name}", {})).body == {"target": f"/v1/{name}"}
        assert server.accepted == 1
        assert names == ["localhost" if host == "localhost" else None]
        assert protocols == ["http/1.1"]
        await server.until(lambda: server.open == 0)


def _of_localhost(getaddrinfo: Any, host: str | bytes, *rest: Any, **keywords: Any) -> Any:
    known = "localhost" if host in {"localhost.", b"localhost."} else host
    return getaddrinfo(known, *rest, **keywords)


async def test_the_trailing_dot_of_a_host_is_not_part_of_its_tls_name(
    serve: Serve,
    connect: Connect,
    make: Make,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not every machine's resolver knows this name.
    monkeypatch.setattr(socket, "getaddrinfo", partial(_of_localhost, socket.getaddrinfo))
    names: list[str | None] = []
    context = server_context(authority, "localhost")
    context.sni_callback = lambda sock, name, ctx: names.append(name)
    async with serve(context=context) as server:
        url = f"https://localhost.:{server.port}/v1"
        async with connect(server, base_url=url, transport=make(trusting)) as client:
            await client.request("POST", "/a", {})
    assert set(names) == {"localhost"}
    assert {seen.headers["host"] for seen in server.requests} == {f"localhost.:{server.port}"}


@pytest.mark.parametrize("has_one", [False, True], ids=["none", "unknown"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_a_server_that_requires_another_certificate_is_a_tls_error(
    authority: trustme.CA, trusting: ssl.SSLContext, make: Make, has_one: bool, version: ssl.TLSVersion
) -> None:
    """With TLS 1.3 the alert follows the handshake, while the request is sent or the response awaited."""
    if has_one:
        trustme.CA().issue_cert("client.example").configure_cert(trusting)
    with refusing_handshakes(authority, version) as url:
        async with Client(
            base_url=url, model="m", policies=[], timeout=10.0, transport=make(trusting)
        ) as client:
            for _ in range(2):
                with pytest.raises(TLSError) as caught:
                    await client.request("POST", "/a", {})
                assert not caught.value.retryable


@pytest.mark.parametrize("size", [0, 1_000_000])
async def test_a_server_that_requires_another_certificate_may_reset_the_connection(
    authority: trustme.CA, trusting: ssl.SSLContext, size: int
) -> None:
    with refusing_handshakes(authority, ssl.TLSVersion.TLSv1_3, reads_on=False) as url:
        transport = NativeTransport(ssl_context=trusting)
        async with Client(base_url=url, model="m", policies=[], timeout=10.0, transport=transport) as client:
            for _ in range(2):
                with pytest.raises(TLSError, match="certificate"):
                    await client.request("POST", "/a", {"text": "x" * size})


@contextmanager
def refusing_handshakes(
    authority: trustme.CA, version: ssl.TLSVersion, *, reads_on: bool = True
) -> Iterator[str]:
    """A server that requires a certificate of the authority, for two clients.

    A server that does not read on resets the connection; httpx, which writes first, does not see the alert
    then.
    """
    context = server_context(authority, "127.0.0.1")
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)

    def accept_two() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            tls = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            with pytest.raises(ssl.SSLError):
                tls.do_handshake()
            with socket.socket(fileno=tls.detach()) as raw_socket:
                while reads_on and raw_socket.recv(65536):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept_two)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread.join()


async def test_a_body_of_megabytes_goes_both_ways(
    serve: Serve, connect: Connect, make: Make, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            await peer.answer(seen.body)

    context = server_context(authority, "127.0.0.1")
    async with serve(script, context) as server, connect(server, transport=make(trusting)) as client:
        reply = await client.request("POST", "/a", {"text": "x" * 3_000_000})
        assert len(reply.body["text"]) == 3_000_000


async def test_an_untrusted_certificate_is_rejected(
    serve: Serve, connect: Connect, make: Make, authority: trustme.CA
) -> None:
    async with serve(context=server_context(authority, "127.0.0.1")) as server:
        async with connect(server, api_key="k", transport=make(default_ssl_context())) as client:
            with pytest.raises(TLSError, match=r"(?i)certificate") as caught:
                await client.request("POST", "/a", {})
        assert not caught.value.retryable
        assert server.requests == []


async def test_a_certificate_for_another_name_is_rejected(
    serve: Serve, connect: Connect, make: Make, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    async with serve(context=server_context(authority, "other.example")) as server:
        url = f"https://localhost:{server.port}/v1"
        async with connect(server, base_url=url, transport=make(trusting)) as client:
            with pytest.raises(TLSError, match="localhost") as caught:
                await client.request("POST", "/a", {})
        assert not caught.value.retryable
        assert server.requests == []


async def test_a_server_that_speaks_plain_http_is_a_tls_error(
    serve: Serve, connect: Connect, make: Make, trusting: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with serve(script) as server:
        url = server.url.replace("http:", "https:")
        async with connect(server, base_url=url, api_key="k", transport=make(trusting)) as client:
            with pytest.raises(TLSError) as caught:
                await client.request("POST", "/a", {})
        assert not caught.value.retryable
        assert server.accepted == 1, "another try, or one without TLS"


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_disconnect_during_the_handshake_is_retryable(
    serve: Serve, connect: Connect, end: str, trusting: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.receive()
        await getattr(peer, end)()

    async with serve(script) as server:
        url = server.url.replace("http:", "https:")
        async with connect(server, base_url=url, transport=NativeTransport(ssl_context=trusting)) as client:
            with pytest.raises(ConnectError) as caught:
                await client.request("POST", "/a", {})
        assert caught.value.retryable


async def test_a_reused_connection_that_the_server_closed_is_replaced(
    serve: Serve, connect: Connect, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer()

    async with serve(script, server_context(authority, "127.0.0.1")) as server:
        async with connect(server, transport=NativeTransport(ssl_context=trusting)) as client:
            for number in range(4):
                await client.request("POST", f"/{number}", {})
                await server.until(lambda: server.open == 0)
                await anyio.wait_all_tasks_blocked()
        assert server.targets == [f"/v1/{number}" for number in range(4)]


async def test_the_environment_may_select_the_certificates(
    serve: Serve, connect: Connect, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with serve(context=server_context(authority, "127.0.0.1")) as server:
        for transport in ("native", "httpx"):
            async with connect(server, transport=transport) as client:
                assert (await client.request("POST", "/a", {})).status == 200


def test_the_default_context_verifies() -> None:
    context = default_ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] > 0


def test_without_system_certificates_those_of_certifi_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert default_ssl_context().cert_store_stats()["x509_ca"] > 50
