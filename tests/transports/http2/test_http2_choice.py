"""Which version of HTTP is used, by the setting ``http2`` of client and endpoint and by what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.transports.http2.http2_server import Http2Peer

from headrace import Client, Endpoint, SettingsError
from headrace.settings import load_settings
from headrace.transports import native
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve, Trust

pytestmark = pytest.mark.anyio


async def either(peer: Peer) -> None:
    """Speak the negotiated protocol."""
    from anyio.streams.tls import TLSAttribute

    if peer.stream.extra(TLSAttribute.alpn_protocol, None) == "h2":
        await (await Http2Peer(peer).begin()).answer_all()
    else:
        await peer.answer_all()


@pytest.fixture
def without_ngh2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "has_http2", lambda: False)


async def spoken(serve: Serve, trust: Trust, **settings: Any) -> str:
    ours, theirs = trust("h2", "http/1.1")
    async with serve(either, theirs) as server:
        transport = NativeTransport(ssl_context=ours, http2=settings.get("http2", "auto"))
        endpoint = Endpoint(server.url, http2=settings.get("of_endpoint"))
        async with Client(endpoints=[endpoint], model="m", policies=[], transport=transport) as client:
            return (await client.request("POST", "/a", {})).http_version


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "HTTP/2"),
        ({"http2": False}, "HTTP/1.1"),
        ({"http2": True}, "HTTP/2"),
        ({"of_endpoint": False}, "HTTP/1.1"),
        ({"http2": False, "of_endpoint": "auto"}, "HTTP/2"),
        ({"http2": True, "of_endpoint": False}, "HTTP/1.1"),
    ],
)
async def test_the_endpoints_setting_takes_precedence_over_the_clients(
    serve: Serve, trust: Trust, settings: dict[str, Any], expected: str
) -> None:
    assert await spoken(serve, trust, **settings) == expected


@pytest.mark.usefixtures("without_ngh2")
async def test_without_ngh2_auto_means_http1(serve: Serve, trust: Trust) -> None:
    assert await spoken(serve, trust) == "HTTP/1.1"


@pytest.mark.usefixtures("without_ngh2")
async def test_without_ngh2_true_says_what_to_install() -> None:
    with pytest.raises(SettingsError, match=r"headrace\[http2\]"):
        Client(base_url="https://llm.example/v1", model="m", policies=[], http2=True)
    endpoint = Endpoint("https://127.0.0.1:1/v1", http2=True)
    async with Client(endpoints=[endpoint], model="m", policies=[]) as client:
        with pytest.raises(SettingsError, match=r"headrace\[http2\]"):
            await client.request("POST", "/a", {})


def test_the_setting_must_be_true_false_or_auto() -> None:
    assert load_settings({}).core.http2 == "auto"
    for text, meant in (("true", True), ("false", False), ("auto", "auto")):
        assert load_settings({}, environ={"HEADRACE_HTTP2": text}).core.http2 == meant
    for wrong in ("h2", "2", 2.5):
        with pytest.raises(SettingsError, match="http2"):
            load_settings({"http2": wrong})
        with pytest.raises(SettingsError, match="http2"):
            Endpoint("https://llm.example/v1", http2=wrong)  # type: ignore[arg-type]
