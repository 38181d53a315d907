"""Redirects are followed as by the SDKs' own clients, except that credentials stay at their origin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from headrace.integrations.call_factory import REDIRECTED_FROM, CallFactory
from headrace_cost import Cost
from headrace_retry import Retry

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, RawServer, Serve

Through = Callable[..., Any]

pytestmark = pytest.mark.anyio

CREDENTIALS = {
    "Authorization": "Bearer canary-1",
    "X-Api-Key": "canary-2",
    "api-key": "canary-3",
    "Cookie": "session=canary-4",
    "X-Of-My-Own": "canary-5",
}


def moving(status: str, location: str | Callable[[], str]) -> Callable[[Peer], Any]:
    """A script that redirects requests for ``/moved``."""

    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            if seen.target.endswith("/moved"):
                where = location if isinstance(location, str) else location()
                await peer.answer(b"moved", f"Location: {where}", status=status)
            else:
                await peer.answer(b'{"target":"%s"}' % seen.target.encode())

    return script


def received(server: RawServer) -> list[Any]:
    names = ("authorization", "x-api-key", "content-type", "content-length")
    return [
        (seen.method, seen.target, seen.body, [seen.headers.get(name) for name in names])
        for seen in server.requests
    ]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize(
    "location", ["/v1/there?a=b", "there", "//{host}/v1/there", "http://{host}/v1/there"]
)
async def test_a_redirect_on_the_same_host_is_followed_like_in_the_sdks_client(
    serve: Serve, through: Through, library: ModuleType, status: str, location: str
) -> None:
    seen: list[Any] = []
    for make in (through, partial(library.AsyncClient, follow_redirects=True)):
        server: RawServer
        there = moving(status, lambda: location.format(host=f"127.0.0.1:{server.port}"))  # noqa: B023
        async with serve(there) as server, make() as client:
            for method, body in (("POST", {"model": "m"}), ("GET", None)):
                url = f"{server.url}/moved"
                response = await client.request(method, url, json=body, headers=CREDENTIALS)
                history = [each.status_code for each in response.history]
                seen.append((response.status_code, response.url.path, response.content, history))
            seen.append(received(server))
    assert seen[:3] == seen[3:]


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary"])
async def test_a_redirect_to_another_origin_is_followed_without_credentials(
    serve: Serve, through: Through, status: str
) -> None:
    async with serve() as other:
        async with (
            serve(moving(status, f"{other.url}/there")) as server,
            through(headers={"X-Team": "canary-6"}) as client,
        ):
            response = await client.post(
                f"{server.url}/moved", json={"model": "m"}, headers=CREDENTIALS | {"Accept": "text/plain"}
            )
            assert response.json() == {"target": "/v1/there"}
        [seen] = other.requests
        assert "canary" not in repr(dict(seen.headers))
        assert (seen.headers["accept"], seen.headers["host"]) == ("text/plain", f"127.0.0.1:{other.port}")
        assert seen.body == (b'{"model":"m"}' if status.startswith("307") else b"")


async def test_a_redirect_back_to_the_origin_has_all_headers(serve: Serve, through: Through) -> None:
    server: RawServer
    async with (
        serve(moving("307 There", lambda: f"{server.url}/back")) as other,
        serve(moving("307 Here", f"{other.url}/moved")) as server,
        through() as client,
    ):
        response = await client.post(f"{server.url}/moved", headers={"X-Api-Key": "k"})
        assert response.json() == {"target": "/v1/back"}
        assert [seen.headers.get("x-api-key") for seen in server.requests] == ["k", "k"]
        assert [seen.headers.get("x-api-key") for seen in other.requests] == [None]


@pytest.mark.parametrize(
    ("first", "origin", "kept"),
    [
        ("https://a.test", "https://a.test", True),
        ("http://a.test", "https://a.test", True),  # like the libraries
        ("https://a.test", "http://a.test", False),
        ("http://a.test:8080", "https://a.test", False),
        ("https://a.test", "https://a.test:8443", False),
        ("https://a.test", "https://b.a.test", False),
        ("https://a.test", "https://a.test.b.test", False),
    ],
)
async def test_an_origin_is_scheme_host_and_port(
    library: ModuleType, first: str, origin: str, *, kept: bool
) -> None:
    request = library.Request(
        "POST",
        f"{origin}/v1",
        headers={"X-Api-Key": "k", "Accept": "text/plain"},
        extensions={REDIRECTED_FROM: first},
    )
    call, _ = await CallFactory(library).build(request, lambda: 0.0, None)
    names = {name.lower() for name, _ in call.request.headers}
    assert (names & {"accept", "x-api-key"}) == ({"accept", "x-api-key"} if kept else {"accept"})


async def test_a_redirect_to_another_protocol_is_rejected(
    serve: Serve, through: Through, library: ModuleType
) -> None:
    async with serve(moving("307 Moved", "ftp://127.0.0.1/there")) as server, through() as client:
        with pytest.raises(library.UnsupportedProtocol, match="'ftp'"):
            await client.get(f"{server.url}/moved")
        assert len(server.requests) == 1


async def test_a_redirect_is_not_followed_if_the_caller_says_so(serve: Serve, through: Through) -> None:
    async with serve(moving("307 Moved", "/v1/there")) as server:
        async with through(follow_redirects=False) as client:
            response = await client.get(f"{server.url}/moved")
        assert (response.status_code, response.headers["location"]) == (307, "/v1/there")
        assert response.next_request.url.path == "/v1/there"
        async with through() as client:
            assert (await client.get(f"{server.url}/moved", follow_redirects=False)).content == b"moved"
        assert server.targets == ["/v1/moved"] * 2


async def test_an_endless_redirect_is_the_librarys_exception(
    serve: Serve, through: Through, library: ModuleType
) -> None:
    async with serve(moving("307 Moved", "/v1/moved")) as server, through() as client:
        with pytest.raises(library.TooManyRedirects):
            await client.get(f"{server.url}/moved")


async def test_a_stream_is_redirected_and_a_redirect_is_not_a_success_for_policies(
    serve: Serve, through: Through
) -> None:
    async def script(peer: Peer) -> None:
        while seen := await peer.request():
            if len(server.requests) == 1:
                await peer.answer(b"{}", status="503 Busy")
            elif seen.target.endswith("/moved"):
                await peer.answer(b"moved", "Location: /v1/there", status="308 Moved")
            else:
                event = b'data: {"model":"m","usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n'
                await peer.answer(event, "Content-Type: text/event-stream")

    cost = Cost(prices={"m": {"input": 1, "output": 1}})
    policies = [Retry(base=0.001), cost]
    async with serve(script) as server, through(policies=policies, max_in_flight=1) as client:
        body = {"model": "m", "stream": True}
        async with client.stream("POST", f"{server.url}/moved", json=body) as response:
            assert b"usage" in await response.aread()
        assert [each.status_code for each in response.history] == [308]
        assert server.targets == ["/v1/moved", "/v1/moved", "/v1/there"]
    assert (cost.totals.calls, cost.totals.prompt_tokens) == (1, 3)
