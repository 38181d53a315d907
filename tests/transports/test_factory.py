"""Which transport a client gets: by the environment's proxies, by name, by plugins."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from headrace import Client, Endpoint, Secret, SettingsError
from headrace.settings import CoreSettings, load_settings
from headrace.transports.connecting.proxy import environment_proxy, parse_proxy
from headrace.transports.factory import make_transport
from headrace.transports.httpx import HttpxTransport
from headrace.transports.native import NativeTransport

PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, "https://llm.example/v1", False),
        ({"HTTPS_PROXY": PROXY}, "https://llm.example/v1", True),
        ({"https_proxy": PROXY}, "https://llm.example/v1", True),
        ({"HTTPS_PROXY": PROXY}, "HTTPS://LLM.example/v1", True),
        ({"HTTPS_PROXY": PROXY}, "http://llm.example/v1", False),
        ({"HTTP_PROXY": PROXY}, "http://llm.example/v1", True),
        ({"HTTP_PROXY": PROXY}, "https://llm.example/v1", False),
        ({"ALL_PROXY": PROXY}, "https://llm.example/v1", True),
        ({"HTTPS_PROXY": ""}, "https://llm.example/v1", False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "llm.example"}, "https://llm.example/v1", False),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "llm.example"}, "https://llm.example/v1", False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".example"}, "https://llm.example/v1", False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "llm.example:8443"}, "https://llm.example:8443/v1", False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, "https://llm.example/v1", False),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "other.example"}, "https://llm.example/v1", True),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "localhost,127.0.0.1"}, "http://127.0.0.1:8000/v1", False),
    ],
)
def test_the_environment_selects_proxies(
    environment: dict[str, str], url: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(url) == (PROXY if expected else None)
    assert type(make_transport(CoreSettings(base_url=url))) is NativeTransport


@pytest.mark.parametrize(
    ("proxy", "kind"),
    [
        ("http://proxy.test:3128", NativeTransport),
        ("HTTP://proxy.test", NativeTransport),
        ("proxy.test:3128", NativeTransport),
        ("http://me:secret@proxy.test:3128/", NativeTransport),
        ("https://proxy.test", HttpxTransport),
        ("socks5://proxy.test:1080", HttpxTransport),
        ("socks5h://proxy.test:1080", HttpxTransport),
    ],
)
def test_the_scheme_of_the_proxy_selects_native_or_httpx(
    proxy: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Endpoint("http://127.0.0.1:8000/v1", name="local")
    there = Endpoint("https://llm.example/v1", name="there")
    if "://" in proxy:
        assert type(make_transport(CoreSettings(proxy=Secret(proxy)))) is kind
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert type(make_transport(CoreSettings())) is kind
    assert type(make_transport(CoreSettings(endpoints=(local, there)))) is kind
    monkeypatch.setenv("NO_PROXY", "llm.example,127.0.0.1")
    assert type(make_transport(CoreSettings(endpoints=(local, there)))) is NativeTransport


@pytest.mark.parametrize(
    "proxy",
    [
        "http://",
        "http://me:canary@",
        "http://me:canary@proxy.test:port",
        "http://me:canary@proxy.test:99999",
        "http://me:canary@proxy.test/path",
        "http://me:canary@proxy.test?query",
        "http://me:canary@[proxy.test",
        "http://me:canary@pro xy.test",
        "http://me:canary@proxy.test\r\nX: y",
        "socks5://me:canary@proxy.test",
        "me:canary@proxy.test",
        "",
    ],
)
def test_an_invalid_proxy_url_is_rejected_without_showing_it(proxy: str) -> None:
    with pytest.raises(SettingsError, match="proxy") as caught:
        make_transport(CoreSettings(transport="native", proxy=Secret(proxy)))
    assert "canary" not in str(caught.value)
    with pytest.raises(SettingsError, match="proxy"):
        NativeTransport(proxy=proxy)


def test_credentials_of_a_proxy_may_be_percent_encoded() -> None:
    proxy = parse_proxy("http://m%C3%A9:p%40ss%3A@proxy.test")
    assert proxy.port == 80
    assert proxy.authorization == "Basic " + base64.b64encode("mé:p@ss:".encode()).decode()
    assert "Basic" not in repr(proxy)


def test_a_transport_name_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(make_transport(CoreSettings(transport="httpx"))) is HttpxTransport
    monkeypatch.setenv("ALL_PROXY", PROXY)
    assert type(make_transport(CoreSettings(transport="native"))) is NativeTransport


def test_an_unknown_name_suggests_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'natve'; did you mean 'native'"):
        Client(base_url="http://localhost/v1", policies=[], transport="natve")
    settings = load_settings({}, environ={"HEADRACE_TRANSPORT": "native"}, directory=tmp_path)
    assert type(make_transport(settings.core)) is NativeTransport
