"""Endpoints: their settings, which of them serves a model, and how requests are written for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import Call, Client, Endpoint, Reply, Request, RequestError, Secret, Send, SettingsError, Stage
from headrace.settings import Settings, load_settings
from headrace.testing import FakeEndpoint

TOML = """
[endpoints.deepseek]
base_url = "https://api.deepseek.example/v1/"
api_key_env = "DEEPSEEK_KEY"
models = {"deepseek-v3.2" = "deepseek-chat"}
weight = 3
max_in_flight = 200

[endpoints.azure]
base_url = "https://shop.azure.example/openai"
api_key_env = "AZURE_KEY"
key_header = "api-key"
models = ["gpt-4.1", "deepseek-v3.2"]
path = "/deployments/{model}{path}"
query = {"api-version" = "2024-10-21"}
headers = {"X-Team" = "shop"}
"""
KEYS = {"DEEPSEEK_KEY": "sk-deep", "AZURE_KEY": "sk-azure"}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Settings]:
    """Loads settings from a file in an otherwise empty folder."""

    def read(text: str = TOML, environ: dict[str, str] = KEYS, **keywords: Any) -> Settings:
        (tmp_path / "headrace.toml").write_text(text)
        return load_settings(keywords, environ=environ, directory=tmp_path)

    return read


def test_a_file_defines_endpoints_and_variables_of_their_keys(load: Callable[..., Settings]) -> None:
    deepseek, azure = load().core.validated_endpoints()
    assert (deepseek.name, deepseek.base_url) == ("deepseek", "https://api.deepseek.example/v1")
    assert (deepseek.weight, deepseek.max_in_flight) == (3, 200)
    assert deepseek.credentials() == {"Authorization": "Bearer sk-deep"}
    assert azure.credentials() == {"api-key": "sk-azure"}
    assert azure.models == {"gpt-4.1": "gpt-4.1", "deepseek-v3.2": "deepseek-v3.2"}
    assert (deepseek.serves("gpt-4.1"), azure.serves("gpt-4.1"), azure.serves(None)) == (False, True, True)
    assert "sk-" not in repr((deepseek, azure))


def test_one_named_endpoint_replaces_those_of_the_file(load: Callable[..., Settings]) -> None:
    url = "https://one.example/v1"
    for settings in (load(base_url=url), load(environ=KEYS | {"HEADRACE_BASE_URL": url})):
        assert [endpoint.base_url for endpoint in settings.core.validated_endpoints()] == [url]
    # OPENAI_BASE_URL does not, because it is meant for all programs.
    assert len(load(environ=KEYS | {"OPENAI_BASE_URL": url}).core.validated_endpoints()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[endpoints.a]\nmodels = ["m"]', r"\[endpoints.a\] base_url is missing"),
        ('[endpoints.a]\nbase_ulr = "https://a.example"\nbase_url = "x"', "did you mean 'base_url'"),
        ('[endpoints.a]\nbase_url = "https://a.example"\napi_key = "sk-1"', "set api_key_env to"),
        ('[endpoints.a]\nbase_url = "https://a.example"\napi_key_env = "NO_KEY"', "'NO_KEY' is not set"),
        ('[endpoints.a]\nbase_url = "ftp://a.example"', "endpoint 'a': base_url"),
        ('[endpoints.a]\nbase_url = "https://a.example"\nweight = 0', "weight=0.*above 0"),
        ('[endpoints.a]\nbase_url = "https://a.example"\nmax_in_flight = -1', "max_in_flight=-1"),
        ('[endpoints.a]\nbase_url = "https://a.example"\npath = "/x"', "path='/x': must be like"),
        ('[endpoints.a]\nbase_url = "https://a.example"\nkey_header = "api key"', "key_header='api key'"),
        ('[endpoints.a]\nbase_url = "https://a.example"\nheaders = {"X\\n" = "a"}', "header name 'X"),
        (
            '[endpoints.a]\nbase_url = "https://a.example"\nheaders = {"X" = "a\\r\\nY: b"}',
            "header 'X' contains a line break",
        ),
        ('[endpoints.a]\nbase_url = "https://a.example"\nmodels = "m"', "models"),
        ('[endpoints.a]\nbase_url = "https://a.example"\nmodels = [["m"]]', "must be a list of names"),
        ("endpoints = [5]", "tables like"),
        ("endpoints = []", "tables like"),
        ('[endpoints]\nbase_url = "https://a.example"', "tables like"),
    ],
)
def test_an_invalid_endpoint_raises_and_is_named(
    load: Callable[..., Settings], text: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load(text).core.validated_endpoints()
    assert "sk-1" not in str(caught.value)


def test_keywords_accept_endpoints_or_tables() -> None:
    endpoints = [Endpoint("https://a.example/v1", "sk-a"), Endpoint("https://a.example/v1", name="b")]
    assert [each.name for each in Client(endpoints=endpoints, policies=[]).endpoints] == ["a.example", "b"]
    tables = {"a": {"base_url": "https://a.example/v1"}}
    assert [each.name for each in Client(endpoints=tables, policies=[]).endpoints] == ["a"]
    with pytest.raises(SettingsError, match=r"two endpoints are called 'a\.example'"):
        Client(endpoints=[endpoints[0], Endpoint("https://a.example/v2")], policies=[])
    with pytest.raises(SettingsError, match="remove one of them"):
        Client(endpoints=endpoints, base_url="https://c.example/v1", policies=[])
    with pytest.raises(SettingsError, match=r"endpoint 'b': .*insecure=True"):
        Client(endpoints=[Endpoint("http://b.example", Secret("k"), name="b")], policies=[])
    with pytest.raises(SettingsError, match="must be a list of names"):
        Endpoint("https://a.example", models="m")


def fake(endpoint: FakeEndpoint, *endpoints: Endpoint, **keywords: Any) -> Client:
    return endpoint.client(base_url=None, endpoints=endpoints, **keywords)


@pytest.mark.anyio
async def test_a_call_goes_to_the_first_endpoint_that_serves_its_model() -> None:
    seen: list[tuple[str, list[str]]] = []

    class Watch:
        name, stage = "watch", Stage.PACE

        def wrap(self, send: Send) -> Send:
            async def watch(call: Call) -> Reply:
                seen.append((call.endpoint.name, [each.name for each in call.endpoints]))
                return await send(call)

            return watch

    a = Endpoint("http://a.test/v1", name="a", models=["small"])
    b = Endpoint("http://b.test/v1", name="b", models=["small", "large"])
    lists = FakeEndpoint()
    async with fake(lists, a, b, policies=[Watch()], model="small") as client:
        await client.chat("?")
        await client.chat("?", model="large")
        await client.models()
        with pytest.raises(RequestError, match="no endpoint has the model 'lagre'; did you mean 'large'"):
            await client.chat("?", model="lagre")
    assert seen == [("a", ["a", "b"]), ("b", ["b"]), ("a", ["a", "b"])]


AZURE = Endpoint(
    "http://azure.test/openai",
    name="azure",
    models={"gpt-4.1": "my gpt"},
    path="/deployments/{model}{path}",
    query={"api-version": "2024-10-21"},
)


@pytest.mark.anyio
async def test_model_and_path_are_rewritten_for_the_endpoint() -> None:
    endpoint = FakeEndpoint("ok", "ok", '{"answer": "a"}')
    async with fake(endpoint, AZURE, model="gpt-4.1") as client:
        await client.chat("Hello")
        async with client.stream("Hello") as stream:
            async for _ in stream:
                pass
        await client.chat("Hello", answer=bool | str)
        await client.request("POST", "/embeddings?trace=1", {"input": "x"})
        assert await client.models() == ["fake-model"]
    paths = [request.path for request in endpoint.attempts]
    assert paths == [
        *["/deployments/my%20gpt/chat/completions?api-version=2024-10-21"] * 3,
        "/deployments/my%20gpt/embeddings?trace=1&api-version=2024-10-21",
        "/models?api-version=2024-10-21",
    ]
    assert [request.model for request in endpoint.attempts] == ["my gpt"] * 4 + [None]
    assert client.settings.model == "gpt-4.1"


@pytest.mark.anyio
async def test_outcomes_and_errors_have_the_original_request() -> None:
    line = {"custom_id": "7", "url": "/v1/chat/completions", "body": {"model": "gpt-4.1", "messages": [1]}}
    async with fake(FakeEndpoint(500), AZURE) as client, client.map([line]) as outcomes:
        outcome = await anext(outcomes)
    assert outcome.error is not None
    assert (outcome.id, outcome.request and outcome.request.model) == ("7", "gpt-4.1")
    assert "POST /chat/completions: status 500" in str(outcome.error)


@pytest.mark.parametrize("path", ["{path}", "/v2{path}", "/{model}/at{path}"])
@pytest.mark.parametrize("model", ["m", "a/b c", None])
def test_a_target_is_a_valid_path(path: str, model: str | None) -> None:
    endpoint = Endpoint("http://a.test", path=path, query={"q": "a b&c"})
    target = endpoint.target("/chat/completions", model)
    assert Request(None, target).path == target
    assert target.endswith("/chat/completions?q=a+b%26c")
    assert msgspec.json.decode(msgspec.json.encode(target)) == target
