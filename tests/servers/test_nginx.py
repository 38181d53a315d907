"""nginx sends GOAWAY at a reload, at its end, and after a number of requests; no call may be lost by that.

The clients have no retry policy: the transport sends again what nginx has not processed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.servers.nginx import CHUNKS

from headrace import Client, ConnectError, ServerError

if TYPE_CHECKING:
    from tests.servers.nginx import Nginx

Run = Callable[..., AbstractContextManager["Nginx"]]
Connect = Callable[..., Client]
pytestmark = pytest.mark.anyio


async def became_of(
    client: Client, count: int, each: Callable[[int], None] = lambda done: None
) -> Counter[str]:
    """The results of this number of calls. ``each`` is called with the number of finished ones."""
    seen: Counter[str] = Counter()
    async with client.map((f"Frage {number}" for number in range(count)), max_in_flight=50) as outcomes:
        async for outcome in outcomes:
            seen[outcome.reply.http_version if outcome.reply is not None else repr(outcome.error)] += 1
            each(seen.total())
    return seen


async def test_calls_streams_errors_and_megabytes_both_ways(nginx: Run, connect: Connect) -> None:
    with nginx() as server:
        async with connect(server.url) as client:
            assert await became_of(client, 300) == {"HTTP/2": 300}
            assert (await client.chat("Hallo")).text == "Gruss"
        root = server.url.removesuffix("/v1")
        async with connect(root) as client:
            large = {"text": "x" * 5_000_000}
            assert (await client.request("POST", "/echo", large)).body["text"] == large["text"]
            for _ in range(2):
                with pytest.raises(ServerError, match="busy") as caught:
                    await client.request("POST", "/busy", {})
                assert caught.value.status == 503
        async with connect(f"{root}/stream/v1") as client, client.stream("Hallo") as stream:
            assert [piece.text async for piece in stream if piece.text] == CHUNKS
        assert stream.reply.http_version == "HTTP/2"


async def test_megabytes_and_small_calls_at_the_same_time(nginx: Run, connect: Connect) -> None:
    lengths: list[int] = []

    async def echo(client: Client, length: int) -> None:
        reply = await client.request("POST", "/echo", {"text": "x" * length})
        lengths.append(len(reply.body["text"]))

    with nginx() as server:
        async with connect(server.url.removesuffix("/v1")) as client, anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(echo, client, 2_000_000 if number % 20 == 0 else 100)
    assert sorted(lengths) == [100] * 57 + [2_000_000] * 3


async def test_no_call_is_lost_at_a_reload(nginx: Run, connect: Connect) -> None:
    with nginx(latency_ms=5) as server:

        def reload(done: int) -> None:
            if done % 200 == 0:
                server.reload()

        async with connect(server.url) as client:
            assert await became_of(client, 1000, reload) == {"HTTP/2": 1000}


@pytest.mark.parametrize("requests", [10, 1])
async def test_no_call_is_lost_if_a_connection_accepts_few_requests(
    nginx: Run, connect: Connect, requests: int
) -> None:
    with nginx(requests=requests) as server:
        async with connect(server.url) as client:
            assert await became_of(client, 300) == {"HTTP/2": 300}
        assert len(server.connections) == 300, "one was sent twice"


async def test_a_server_that_accepts_more_requests_again_gets_more(nginx: Run, connect: Connect) -> None:
    with nginx(requests=5) as server:
        async with connect(server.url) as client:
            await became_of(client, 100)
            assert len(set(server.connections)) >= 20
            server.allow(1000)
            before = server.workers
            server.reload()
            with anyio.fail_after(20):
                while before & server.workers:
                    # A call may be refused too often meanwhile: new workers start to count from zero.
                    await became_of(client, 50)
            assert await became_of(client, 300) == {"HTTP/2": 300}
        assert len(set(server.connections[-300:])) < 50, "at five requests per connection it would be 60"


async def test_requests_in_progress_are_answered_when_nginx_quits(nginx: Run, connect: Connect) -> None:
    with nginx(latency_ms=300) as server:
        async with connect(server.url) as client:
            await client.chat("Hallo")
            texts: list[str] = []

            async def make_call() -> None:
                texts.append((await client.chat("Hallo")).text)

            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(make_call)
                with anyio.fail_after(10):
                    while client.in_flight < 50:
                        await anyio.lowlevel.checkpoint()
                    await anyio.wait_all_tasks_blocked()
                server.quit()
            assert texts == ["Gruss"] * 50
            server.process.wait(10)
            with pytest.raises(ConnectError, match="refused"):
                await client.chat("Hallo")


async def test_a_connection_that_nginx_closed_when_idle_gets_no_call(nginx: Run, connect: Connect) -> None:
    with nginx(idle="1s") as server:
        async with connect(server.url) as client:
            for _ in range(2):
                assert (await client.chat("Hallo")).text == "Gruss"
                await anyio.sleep(1.2)  # nginx's own clock cannot be mocked
        assert len(server.connections) == 2
