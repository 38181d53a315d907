"""A client that lives as long as a FastAPI application, in its lifespan or in its start-up handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from tests.frameworks.policies import Ticking

from headrace import Client, Policy
from headrace_breaker import Breaker
from headrace_retry import Retry

Backend = Literal["asyncio", "trio"]
with_and_without_tasks = pytest.mark.parametrize("has_task", [False, True], ids=["standard", "with a task"])
on_both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def make_client(endpoint: str, ticking: Ticking | None) -> Client:
    """A client with the standard policies, or with one that has a background task."""
    policies: list[Policy] | None = None if ticking is None else [Breaker(), Retry(), ticking]
    return Client(base_url=endpoint, api_key="k", model="m", policies=policies)


def ask_in_all_ways(app: FastAPI, backend: Backend) -> None:
    """Handlers that chat, map and stream, each in its own task."""

    @app.get("/chat")
    async def chat(request: Request) -> str:
        return str((await request.app.state.client.chat("Hello")).text)

    @app.get("/map")
    async def map(request: Request) -> int:
        async with request.app.state.client.map(["Hello"] * 20) as outcomes:
            return len([outcome async for outcome in outcomes if outcome.ok])

    @app.get("/stream")
    async def stream(request: Request) -> str:
        async with request.app.state.client.stream("Hello") as pieces:
            return "".join([piece.text async for piece in pieces])

    with TestClient(app, backend=backend) as test:
        text = test.get("/chat").json()
        assert text
        assert test.get("/map").json() == 20
        assert test.get("/stream").json() == text
        assert test.get("/chat").json() == text


@on_both
@with_and_without_tasks
def test_a_client_in_the_lifespan_works(endpoint: str, backend: Backend, has_task: bool) -> None:
    ticking = Ticking() if has_task else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with make_client(endpoint, ticking) as app.state.client:
            yield

    ask_in_all_ways(FastAPI(lifespan=lifespan), backend)
    if ticking is not None:
        assert ticking.log == ["open", "close"]


@on_both
@with_and_without_tasks
@pytest.mark.filterwarnings("ignore:.*(on_event|on_startup|on_shutdown).*:DeprecationWarning")
def test_a_client_in_startup_and_shutdown_handlers_works(
    endpoint: str, backend: Backend, has_task: bool
) -> None:
    ticking = Ticking() if has_task else None

    async def start_up() -> None:
        app.state.client = await make_client(endpoint, ticking).__aenter__()

    async def shut_down() -> None:
        await app.state.client.__aexit__(None, None, None)

    handlers: dict[str, Any] = {"on_startup": [start_up], "on_shutdown": [shut_down]}
    app = FastAPI(**handlers)
    ask_in_all_ways(app, backend)
    if ticking is not None:
        assert ticking.log == ["open", "close"]
