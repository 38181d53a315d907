"""Which transport a client gets: the environment's proxies, names, plugins."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import Client, SettingsError
from headrace.settings import CoreSettings, load_settings
from headrace.transports.choice import make_transport, proxied
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
def test_the_environment_decides_between_native_and_httpx(
    environment: dict[str, str], url: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxied(url) is expected
    made = make_transport(CoreSettings(base_url=url))
    assert type(made) is (HttpxTransport if expected else NativeTransport)


def test_a_name_decides_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(make_transport(CoreSettings(transport="httpx"))) is HttpxTransport
    monkeypatch.setenv("ALL_PROXY", PROXY)
    assert type(make_transport(CoreSettings(transport="native"))) is NativeTransport


def test_an_unknown_name_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'natve'; did you mean 'native'"):
        Client(base_url="http://localhost/v1", policies=[], transport="natve")
    settings = load_settings({}, environ={"HEADRACE_TRANSPORT": "native"}, directory=tmp_path)
    assert type(make_transport(settings.core)) is NativeTransport
