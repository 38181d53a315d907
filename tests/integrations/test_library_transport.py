"""Requests that only the library's own transport can make, through headrace's policies."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from anyio.streams.tls import TLSAttribute

from headrace import SettingsError

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve

Through = Callable[..., Any]
on_both = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(library: ModuleType, authority: trustme.CA) -> ssl.SSLContext:
    context: ssl.SSLContext = library.create_ssl_context()
    authority.configure_trust(context)
    return context


@on_both
async def test_a_client_certificate_is_shown(
    serve: Serve, through: Through, library: ModuleType, authority: trustme.CA, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    pem = tmp_path / "client.pem"
    authority.issue_cert("someone@shop.example").private_key_and_cert_chain_pem.write_to_path(str(pem))
    shown: list[Any] = []

    async def script(peer: Peer) -> None:
        shown.append(peer.stream.extra(TLSAttribute.peer_certificate))
        await peer.answer_all()

    async with serve(script, context) as server:
        # In the SSL context, as both libraries recommend today.
        with_certificate = trusting(library, authority)
        with_certificate.load_cert_chain(pem)
        async with through(verify=with_certificate) as client:
            assert (await client.get(f"{server.url}/a")).json() == {"target": "/v1/a"}
        async with through(verify=trusting(library, authority), cert=str(pem)) as client:
            assert (await client.get(f"{server.url}/a")).json() == {"target": "/v1/a"}
        async with through(verify=False, cert=(str(pem), str(pem), None)) as client:
            assert (await client.get(f"{server.url}/a")).json() == {"target": "/v1/a"}
        async with through(verify=trusting(library, authority)) as client:
            with pytest.raises((library.ConnectError, library.ReadError, library.RemoteProtocolError)):
                await client.get(f"{server.url}/b")
    assert [each["subjectAltName"] for each in shown[:3]] == [(("email", "someone@shop.example"),)] * 3


@pytest.mark.parametrize("cert", ["none.pem", ("none.pem", "none.pem", "canary")])
def test_an_unusable_client_certificate_is_rejected_at_once(through: Through, cert: Any) -> None:
    with pytest.raises(SettingsError, match=r"none\.pem cannot be read"):
        through(cert=cert)


@on_both
@pytest.mark.parametrize("kind", ["text", "url", "proxy", "environment"])
async def test_a_proxy_is_used(
    serve: Serve, through: Through, library: ModuleType, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as proxy:
        url = f"http://me:secret@127.0.0.1:{proxy.port}"
        if kind == "environment":
            monkeypatch.setenv("HTTP_PROXY", url)
        makes: dict[str, Any] = {"text": str, "url": library.URL, "proxy": library.Proxy}
        options = {} if kind == "environment" else {"proxy": makes[kind](url)}
        async with through(**options) as client:
            response = await client.get("http://llm.test/v1/a")
            assert response.json() == {"target": "http://llm.test/v1/a"}
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"


@on_both
async def test_a_proxys_refusal_is_the_librarys_exception(
    serve: Serve, through: Through, library: ModuleType
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

    async with serve(script) as proxy, through(proxy=f"http://127.0.0.1:{proxy.port}") as client:
        with pytest.raises(library.ProxyError, match="requires credentials"):
            await client.get("https://llm.test/v1/a")


@on_both
async def test_with_trust_env_false_the_environments_proxies_are_ignored(
    serve: Serve, through: Through, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as server, serve() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with through(trust_env=False) as client:
            await client.get(f"{server.url}/a")
        assert (proxy.accepted, server.accepted) == (0, 1)


def test_an_invalid_proxy_url_is_rejected_at_once(through: Through) -> None:
    with pytest.raises(SettingsError, match="proxy"):
        through(proxy="http://me:secret@")
