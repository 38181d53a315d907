"""The cache with several endpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_endpoints import FakeEndpoints
from headrace.testing import Answer, FakeEndpoint
from headrace_cache import Cache
from headrace_route import Route

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "answers.sqlite")


async def test_cached_answer_belongs_to_its_endpoint(path: str) -> None:
    async def texts(endpoints: FakeEndpoints) -> str:
        async with endpoints.client(Route(by="order"), Cache(path=path)) as client:
            return (await client.chat("Hallo")).text

    assert await texts(FakeEndpoints(a=FakeEndpoint(500), b=FakeEndpoint("b answered"))) == "b answered"
    assert await texts(FakeEndpoints(a=FakeEndpoint("asked again"), b=FakeEndpoint())) == "b answered"
    assert await texts(FakeEndpoints(b=FakeEndpoint("asked again"))) == "b answered"
    assert await texts(FakeEndpoints(a=FakeEndpoint("asked again"))) == "asked again"
    assert await texts(FakeEndpoints(a=FakeEndpoint(), b=FakeEndpoint())) == "asked again", "a comes first"


async def test_answer_of_another_model_is_not_cached(path: str) -> None:
    too_long = Answer(status=400, body={"error": {"message": "x", "code": "context_length_exceeded"}})
    endpoints = FakeEndpoints(a=FakeEndpoint(too_long, "from large", "from m"))
    async with endpoints.client(Route(on_context_window="large"), Cache(path=path)) as client:
        assert (await client.chat("Hallo")).text == "from large"
        assert (await client.chat("Hallo")).text == "from m"
        assert (await client.chat("Hallo")).attempts == 0
