"""Errors about a reply do not show the key, even if the endpoint repeats it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from tests.transports.test_echoed_keys import KEY, SECRET, shown, texts_of

from headrace import Client, HeadraceError, InvalidReply, Tools
from headrace.testing import Answer, FakeEndpoint


def look_up(word: str) -> str:
    """Look a word up."""
    return word


async def body(client: Client) -> Any:
    return (await client.request("GET", "/files/1")).body


async def text(client: Client) -> Any:
    return (await client.request("GET", "/files/1")).text


async def message(client: Client) -> Any:
    return (await client.request("GET", "/files/1")).message


async def models(client: Client) -> Any:
    return await client.models()


async def vectors(client: Client) -> Any:
    return await client.embed(["a", "b"])


async def tools(client: Client) -> Any:
    return Tools(look_up).calls(await client.chat("x"))


def calling(name: str, arguments: str) -> Any:
    call = {"id": "1", "function": {"name": name, "arguments": arguments}}
    return {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}


Use: TypeAlias = Callable[[Client], Awaitable[Any]]

CASES: list[tuple[Use, Any]] = [
    (body, f"not json: {KEY}".encode()),
    (body, f'{{"a": "{KEY}", '.encode()),
    (body, b'{"a": "\xff%b' % KEY.encode()),
    (text, {"said": KEY}),
    (text, {"choices": [KEY], "output": KEY}),
    (message, {"choices": [{"message": KEY, "text": KEY}]}),
    (message, {"said": [KEY]}),
    (models, {"data": [{"x": KEY}]}),
    (models, f'["{KEY}'.encode()),
    (vectors, {"data": [{"embedding": KEY}, {"embedding": [1.0]}]}),
    (vectors, {"data": [{"embedding": [1.0], "index": KEY}]}),
    (vectors, {"data": [[1.0], [KEY]]}),
    (vectors, {"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}], "model": KEY}),
    (tools, calling(KEY, "{}")),
    (tools, calling("look_up", json.dumps({"word": 5, KEY: KEY}))),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("use", "content"), CASES)
async def test_errors_about_a_reply_do_not_show_the_key(
    use: Callable[[Client], Awaitable[Any]], content: Any
) -> None:
    answer = Answer(body=content, headers={"content-type": "text/plain"})
    async with FakeEndpoint(answer).client(api_key=KEY, policies=[]) as client:
        with pytest.raises(HeadraceError) as caught:
            await use(client)
    assert SECRET not in str(caught.value)
    assert not {(place, what) for place, what in texts_of(caught.value) if shown(what)}
    assert not isinstance(caught.value, InvalidReply) or caught.value.__cause__ is None
