"""The list of an endpoint's models."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import Client, InvalidReply
from headrace.testing import Answer, FakeEndpoint
from headrace.testing.server import endpoint_process


@pytest.mark.anyio
async def test_the_ids_come_in_the_endpoints_order() -> None:
    models = [{"id": "b", "object": "model"}, {"id": "a"}]
    endpoint = FakeEndpoint(Answer(body={"object": "list", "data": models}))
    async with endpoint.client(model=None) as client:
        assert await client.models() == ["b", "a"]
    (request,) = endpoint.attempts
    assert (request.method, request.path, request.body) == ("GET", "/models", None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'["b", "a"]', ["b", "a"]),
        (b'[{"id": "b"}, {"id": "a", "object": "model"}]', ["b", "a"]),
        ({"data": ["b", "a"]}, ["b", "a"]),
        ({"data": [{"id": "b"}, {"id": None}, {}, 5, None, [], "", {"name": "a"}]}, ["b", "a"]),
        ({"data": None, "models": [{"name": "b:latest", "model": "b"}, {"name": "a"}]}, ["b", "a"]),
        ({"models": [{"name": "models/b", "version": "1"}]}, ["models/b"]),
        ({"data": [{"id": "b", "created": "yesterday"}], "object": None}, ["b"]),
        (b'\xef\xbb\xbf{"data": [{"id": "b", "x": NaN}]}', ["b"]),
        ({"data": []}, []),
        (b"[]", []),
    ],
)
async def test_lists_of_all_vendors_are_parsed_and_odd_entries_skipped(body: Any, ids: list[str]) -> None:
    async with FakeEndpoint(Answer(body=body)).client() as client:
        assert await client.models() == ids


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body", [{}, {"data": None}, {"data": [5, None, {}]}, {"data": {"id": "a"}}, b"5", b'"a"', b"null"]
)
async def test_a_reply_without_models_is_an_error_that_names_base_url(body: Any) -> None:
    async with FakeEndpoint(Answer(body=body)).client() as client:
        with pytest.raises(InvalidReply, match="not a list of models; check base_url") as caught:
            await client.models()
    assert caught.value.attempts == 1


@pytest.mark.anyio
async def test_a_reply_of_another_content_type_is_an_error() -> None:
    answer = Answer(body=b"all of them", headers={"content-type": "text/plain"})
    async with FakeEndpoint(answer).client() as client:
        with pytest.raises(InvalidReply, match=r"^'all of them' .*not a list of models"):
            await client.models()


@pytest.mark.anyio
async def test_models_are_listed_over_a_socket() -> None:
    async with endpoint_process() as endpoint, Client(base_url=endpoint.base_url, policies=[]) as client:
        assert await client.models() == ["simulated-chat", "simulated-embedding"]
