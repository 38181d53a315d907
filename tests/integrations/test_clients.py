"""Clients of httpx and httpx2 over headrace behave as their users expect."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from contextlib import aclosing
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme

from headrace import Call, CircuitOpen, PolicyError, Reply, Send, SettingsError, Stage, StreamResult
from headrace.integrations import httpx as for_httpx
from headrace.integrations import httpx2 as for_httpx2
from headrace.testing import EventRecorder
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_retry import Retry

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve

Through = Callable[..., Any]

pytestmark = pytest.mark.anyio

QUICK = Retry(base=0.001)
SSE = "Content-Type: text/event-stream"


async def test_a_request_is_sent_as_it_was_made(serve: Serve, through: Through) -> None:
    async with serve() as server, through(headers={"X-Team": "a"}) as client:
        response = await client.post(
            f"{server.url}/a?b=c%20d", json={"model": "m"}, headers={"Authorization": "Bearer k"}
        )
        assert response.json() == {"target": "/v1/a?b=c%20d"}
        await client.get(f"{server.url}/none")
        await client.post(f"{server.url}/form", data={"a": "b"})
    first, get, form = server.requests
    assert (first.method, first.body) == ("POST", b'{"model":"m"}')
    assert (first.headers["authorization"], first.headers["x-team"]) == ("Bearer k", "a")
    assert first.headers["content-type"] == "application/json"
    assert "httpx" in first.headers["user-agent"]
    assert (get.method, get.body) == ("GET", b"")
    assert "content-type" not in get.headers
    assert (form.body, form.headers["content-type"]) == (b"a=b", "application/x-www-form-urlencoded")
    assert server.accepted == 1


async def test_an_error_status_is_returned_to_the_caller(
    serve: Serve, through: Through, library: ModuleType
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b'{"error": {"message": "no"}}', "X-Request-Id: r1", status="429 Too Many")
        await peer.request()
        await peer.answer(b"not json", "Content-Type: text/plain")

    async with serve(script) as server, through() as client:
        response = await client.post(f"{server.url}/a", json={"model": "m"})
        assert (response.status_code, response.headers["x-request-id"]) == (429, "r1")
        assert response.json() == {"error": {"message": "no"}}
        with pytest.raises(library.HTTPStatusError):
            response.raise_for_status()
        assert (await client.get(f"{server.url}/b")).text == "not json"


async def test_an_encoded_response_is_decoded_once(serve: Serve, through: Through) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(gzip.compress(b"Gruss"), "Content-Encoding: gzip")

    async with serve(script) as server, through() as client:
        response = await client.get(f"{server.url}/a")
        assert (response.content, response.headers.get("content-encoding")) == (b"Gruss", None)


async def test_redirects_are_followed_by_the_library(serve: Serve, through: Through) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"", "Location: /elsewhere", status="302 Found")
        await peer.request()
        await peer.answer(b"there")

    async with serve(script) as server, through(follow_redirects=True) as client:
        assert (await client.get(f"{server.url}/a")).content == b"there"
        assert server.targets == ["/v1/a", "/elsewhere"]


async def test_failures_are_retried_and_the_last_one_is_the_librarys_exception(
    serve: Serve, through: Through, library: ModuleType
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.answer(b"{}", status="503 Busy")
        elif peer.number == 2:
            await peer.answer(b"{}")
        await peer.close()

    async with serve(script) as server, through(policies=[QUICK]) as client:
        response = await client.post(f"{server.url}/a", json={"model": "m"})
        assert (response.status_code, server.accepted) == (200, 3)
        with pytest.raises(library.ConnectError, match="closed the connection before it answered") as caught:
            await client.post(f"{server.url}/a", json={"model": "m"})
        assert caught.value.request.url.path == "/v1/a"
        assert server.accepted == 6


async def test_timeouts_are_the_librarys_exceptions(
    serve: Serve, through: Through, library: ModuleType
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            pass

    async with serve(script) as server, through(max_in_flight=1) as client:
        with anyio.fail_after(5), pytest.raises(library.ReadTimeout):
            await client.get(f"{server.url}/a", timeout=library.Timeout(5, read=0.05))
        async with anyio.create_task_group() as group:
            group.start_soon(client.get, f"{server.url}/a")
            await server.until(lambda: len(server.requests) == 2)
            with pytest.raises(library.PoolTimeout, match="raise max_in_flight"):
                await client.get(f"{server.url}/a", timeout=library.Timeout(5, pool=0.05))
            group.cancel_scope.cancel()


async def test_a_stream_arrives_as_sent_and_its_connection_is_reused(serve: Serve, through: Through) -> None:
    go_on = anyio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(f"HTTP/1.1 200 OK\r\n{SSE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            await peer.send(b"9\r\ndata: 1\n\n\r\n")
            await go_on.wait()
            await peer.send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    async with serve(script) as server, through() as client:
        for _ in range(2):
            body = {"model": "m", "stream": True}
            async with client.stream("POST", f"{server.url}/a", json=body) as response:
                parts = response.aiter_raw()
                assert await anext(parts) == b"data: 1\n\n"
                go_on.set()
                assert [part async for part in parts] == [b"data: 2\n\n"]
        assert server.accepted == 1


# About the libraries' own generators, which an error leaves open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_broken_stream_is_an_error_and_a_stream_left_early_is_not(
    serve: Serve, through: Through, library: ModuleType
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(f"HTTP/1.1 200 OK\r\n{SSE}\r\nContent-Length: 100\r\n\r\ndata: 1\n\n".encode())
        if peer.number == 0:
            await peer.close()
        else:
            await peer.request()  # until it closes

    endings: list[StreamResult] = []
    cost = Cost()

    class Watch:
        name = "watch"
        stage = Stage.OBSERVE

        def wrap(self, send: Send) -> Send:
            async def watch(call: Call) -> Reply:
                call.add_done_callback(endings.append)
                return await send(call)

            return watch

    body = {"model": "m", "stream": True}
    async with serve(script) as server, through(policies=[Watch(), cost], max_in_flight=1) as client:
        async with client.stream("POST", f"{server.url}/a", json=body) as response:
            with pytest.raises(library.RemoteProtocolError, match="before the response was complete"):
                await response.aread()
        async with (
            client.stream("POST", f"{server.url}/a", json=body) as response,
            aclosing(response.aiter_raw()) as parts,
        ):
            assert await anext(parts) == b"data: 1\n\n"
        await server.until(lambda: server.open == 0)
    assert [(ending.complete, ending.error is None) for ending in endings] == [(False, False), (False, True)]


@pytest.mark.parametrize(
    "events",
    [
        (
            '{"model":"gpt-4.1","choices":[]}',
            '{"usage":{"prompt_tokens":10,"completion_tokens":4}}',
            "[DONE]",
        ),
        (
            '{"message":{"model":"gpt-4.1","usage":{"input_tokens":10,"output_tokens":1}}}',
            '{"type":"message_delta","usage":{"output_tokens":4}}',
        ),
        ('{"response":{"model":"gpt-4.1","usage":{"input_tokens":10,"output_tokens":4}}}',),
    ],
    ids=["chat", "messages", "responses"],
)
async def test_the_cost_of_a_stream_is_known_at_its_end(
    serve: Serve, through: Through, events: tuple[str, ...]
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer("".join(f"data: {event}\n\n" for event in events).encode(), SSE)

    cost = Cost(prices={"gpt-4.1": {"input": 1, "output": 2}})
    body = {"model": "gpt-4.1", "stream": True}
    async with serve(script) as server, through(policies=[cost]) as client:
        await client.post(f"{server.url}/a", json=body)
    assert (cost.totals.prompt_tokens, cost.totals.completion_tokens) == (10, 4)
    assert str(cost.totals.cost) == "0.000018"


async def test_an_open_circuit_is_raised_unchanged(serve: Serve, through: Through) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(b"{}", status="500 No")

    recorder = EventRecorder()
    policies = [Breaker(failure_rate=None, consecutive=2)]
    async with serve(script) as server, through(policies=policies, observers=[recorder]) as client:
        for _ in range(2):
            assert (await client.get(f"{server.url}/a")).status_code == 500
        with pytest.raises(CircuitOpen):
            await client.get(f"{server.url}/a")
        assert len(server.requests) == 2
    assert [event.name for event in recorder.events] == ["circuit"]


async def test_cancelling_releases_the_slot(serve: Serve, through: Through) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await anyio.sleep_forever()
        await peer.answer()

    async with serve(script) as server, through(max_in_flight=1) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.get, f"{server.url}/a")
            await server.until(lambda: len(server.requests) == 1)
            group.cancel_scope.cancel()
        assert (await client.get(f"{server.url}/a")).status_code == 200


async def test_over_a_proxy_the_library_makes_the_requests(
    serve: Serve, through: Through, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            if peer.number == 0:
                await peer.answer(status="502 Not yet")
            else:
                await peer.answer()

    async with serve(script) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with through(policies=[Retry(attempts=2, base=0.001)]) as client, serve() as server:
            assert (await client.get("http://llm.test/v1/a")).status_code == 502
            assert (await client.get(f"{server.url}/b")).json() == {"target": "/v1/b"}
        assert proxy.targets == ["http://llm.test/v1/a"] * 2
        async with through(trust_env=False) as client, serve() as server:
            assert (await client.get(f"{server.url}/c")).status_code == 200


async def test_tls_is_verified_as_the_librarys_options_say(
    serve: Serve, through: Through, library: ModuleType
) -> None:
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serve(context=context) as server:
        async with through(verify=trusting) as client:
            assert (await client.get(f"{server.url}/a")).status_code == 200
        async with through(verify=False) as client:
            assert (await client.get(f"{server.url}/a")).status_code == 200
        async with through() as client:
            with pytest.raises(library.ConnectError, match="certificate"):
                await client.get(f"{server.url}/a")


async def test_closing_a_client_leaves_no_file_open(
    serve: Serve, through: Through, open_files: Callable[[], int]
) -> None:
    async with serve() as server:
        before = open_files()
        async with through() as client:
            await client.get(f"{server.url}/a")
        await server.until(lambda: server.open == 0)
        await anyio.wait_all_tasks_blocked()
        assert open_files() <= before


async def test_a_broken_policy_is_named(serve: Serve, through: Through) -> None:
    class Broken:
        name = "broken"
        stage = Stage.OBSERVE

        def wrap(self, send: Send) -> Send:
            async def broken(call: Call) -> Reply:
                raise ZeroDivisionError("oh")

            return broken

    async with serve() as server, through(policies=[Broken()]) as client:
        with pytest.raises(PolicyError, match="policy 'broken' raised ZeroDivisionError: oh"):
            await client.get(f"{server.url}/a")


async def test_a_second_retry_layer_is_warned_about_once(serve: Serve, through: Through) -> None:
    again = {"x-stainless-retry-count": "1"}
    async with serve() as server, through(policies=[QUICK]) as client:
        await client.get(f"{server.url}/a", headers={"x-stainless-retry-count": "0"})
        with pytest.warns(RuntimeWarning, match="max_retries=0"):
            await client.get(f"{server.url}/a", headers=again)
        await client.get(f"{server.url}/a", headers=again)
    async with serve() as server, through() as client:
        await client.get(f"{server.url}/a", headers=again)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_in_flight": 0}, "max_in_flight=0"),
        ({"timeot": 5}, "did you mean 'timeout'"),
        ({"transport": object()}, "transport="),
        ({"retry": {"attempts": 5}}, "retry= has no effect together with policies="),
        ({"policies": "retry"}, "must be a list of policies"),
    ],
)
def test_a_wrong_option_is_rejected_when_the_client_is_made(
    through: Through, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        through(**options)


async def test_by_default_the_installed_policies_are_used_with_their_settings(
    serve: Serve, through: Through
) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.answer(b"{}", status="500 No")

    async with (
        serve(script) as server,
        through(policies=None, retry={"attempts": 4, "base": 0.001}) as client,
    ):
        assert (await client.get(f"{server.url}/a")).status_code == 500
        assert len(server.requests) == 4


def test_async_client_can_be_pickled() -> None:
    for module in (for_httpx, for_httpx2):
        assert pickle.loads(pickle.dumps(module.async_client)) is module.async_client
