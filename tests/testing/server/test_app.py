"""The ASGI application, called in memory."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from headrace.testing.server import Behaviour, create_app
from headrace.testing.server.app import EndpointApp
from headrace.testing.server.plan_sending import ConnectionCut
from headrace.testing.server.request_body import BODY_LIMIT

pytestmark = pytest.mark.anyio

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def client(app: EndpointApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test/v1")


async def test_endpoint_answers_and_counts_requests() -> None:
    app = create_app()
    async with client(app) as http:
        reply = await http.post("/chat/completions", json=CHAT)
        assert reply.json()["choices"][0]["message"]["role"] == "assistant"
        assert (await http.get("/nowhere")).status_code == 404
        counts = (await http.get("http://test/headrace/counts")).json()
    assert counts["requests"] == app.counts.requests == 2
    assert counts["by_status"] == {"200": 1, "404": 1}
    assert counts["faults"] == {}
    assert counts["in_flight"] == 0


async def test_counts_need_no_key_and_include_faults() -> None:
    app = create_app(Behaviour(api_key="sk-x", errors=1.0, faults=["503"]))
    async with client(app) as http:
        await http.post("/chat/completions", json=CHAT, headers={"authorization": "Bearer sk-x"})
        assert (await http.post("/chat/completions", json=CHAT)).status_code == 401
        counts = (await http.get("http://test/headrace/counts")).json()
    assert counts["by_status"] == {"503": 1, "401": 1}
    assert counts["faults"] == {"503": 1}


async def test_peak_in_flight_is_counted() -> None:
    app = create_app(Behaviour(latency=0.05))
    async with client(app) as http, anyio.create_task_group() as tasks:
        for _ in range(7):
            tasks.start_soon(lambda: http.post("/chat/completions", json=CHAT))
    assert (app.counts.in_flight, app.counts.peak_in_flight) == (0, 7)


async def test_body_over_the_limit_gets_413_and_is_not_kept() -> None:
    async def endless() -> AsyncIterator[bytes]:
        chunk = bytes(1 << 20)
        for _ in range(BODY_LIMIT // len(chunk) + 1):
            yield chunk

    async with client(create_app()) as http:
        reply = await http.post("/chat/completions", content=endless())
    assert reply.status_code == 413
    assert reply.json()["error"]["type"] == "invalid_request_error"


async def test_client_may_disconnect_before_its_body_is_complete() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("the client has disconnected")

    app = create_app()
    await app(
        {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}, receive, send
    )
    assert app.counts.by_status == {}


@pytest.mark.parametrize("stream", [False, True])
async def test_stall_ends_when_the_client_disconnects(stream: bool) -> None:
    app = create_app(Behaviour(errors=1.0, faults=["stall"], stall=3600))
    content = httpx.Request("POST", "http://test", json=CHAT | {"stream": stream}).content
    incoming: list[dict[str, Any]] = [{"type": "http.request", "body": content}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    with anyio.fail_after(5), pytest.raises(ConnectionCut):
        await app(
            {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}, receive, send
        )
    start, body = sent
    assert start["status"] == 200
    assert body["more_body"]
    assert body["body"]


@pytest.mark.parametrize("stream", [False, True])
async def test_half_of_a_truncated_answer_looks_like_all_of_it(stream: bool) -> None:
    async with (
        client(create_app()) as whole,
        client(create_app(Behaviour(errors=1.0, faults=["truncate"]))) as cut,
    ):
        body = CHAT | {"stream": stream}
        half, all_of_it = [await http.post("/chat/completions", json=body) for http in (cut, whole)]
    assert half.status_code == 200
    assert 0 < len(half.content) < len(all_of_it.content)
    assert all_of_it.content.startswith(half.content)


async def test_lifespan_events_are_answered() -> None:
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await create_app()({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_other_protocols_are_rejected() -> None:
    async def nothing(*_: Any) -> Any:
        raise AssertionError("there is nothing to talk about")

    with pytest.raises(ValueError, match="websocket"):
        await create_app()({"type": "websocket"}, nothing, nothing)
