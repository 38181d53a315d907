"""The cache around several endpoints: whose answer is kept."""

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


async def test_an_answer_belongs_to_the_endpoint_that_gave_it(path: str) -> None:
    async def texts(endpoints: FakeEndpoints) -> str:
        async with endpoints.client(Route(by="order"), Cache(path=path)) as client:
            return (await client.chat("Hallo")).text

    assert await texts(FakeEndpoints(a=FakeEndpoint(500), b=FakeEndpoint("b answered"))) == "b answered"
    assert await texts(FakeEndpoints(a=FakeEndpoint("asked again"), b=FakeEndpoint())) == "b answered"
    assert await texts(FakeEndpoints(b=FakeEndpoint("asked again"))) == "b answered"
    assert await texts(FakeEndpoints(a=FakeEndpoint("asked again"))) == "asked again"
    assert await texts(FakeEndpoints(a=FakeEndpoint(), b=FakeEndpoint())) == "asked again", "a comes first"


async def test_what_another_model_answered_is_not_kept(path: str) -> None:
    too_long = Answer(status=400, body={"error": {"message": "x", "code": "context_length_exceeded"}})
    endpoints = FakeEndpoints(a=FakeEndpoint(too_long, "from large", "from m"))
    async with endpoints.client(Route(on_context_window="large"), Cache(path=path)) as client:
        assert (await client.chat("Hallo")).text == "from large"
        assert (await client.chat("Hallo")).text == "from m"
        assert (await client.chat("Hallo")).attempts == 0
