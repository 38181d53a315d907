"""Quirks of the fake and the embedded endpoint, and how headrace reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace import CallError, Client, InvalidReply, Reply, StatusError, Tools
from headrace.testing import FakeEndpoint
from headrace.testing.server import Behaviour, endpoint_process
from headrace.testing.server.chat import ChatRequest, create_completion
from headrace.testing.server.quirks import READABLE, UNREADABLE, ResponseDraft

PROMPT = "Which one of: red | blue"
Ask = Callable[[Client], Awaitable[tuple[str, Reply]]]


def now(zone: str = "UTC") -> str:
    """The time."""
    return zone


TOOLS = Tools(now)


async def whole(client: Client) -> tuple[str, Reply]:
    reply = await client.chat(PROMPT, tools=TOOLS)
    return reply.text, reply


async def streamed(client: Client) -> tuple[str, Reply]:
    async with client.stream(PROMPT, tools=TOOLS) as stream:
        text = "".join([piece.text async for piece in stream])
    return text, stream.reply


@asynccontextmanager
async def of_fake(quirks: list[str]) -> AsyncIterator[Client]:
    async with FakeEndpoint(otherwise="red", quirks=quirks).client() as client:
        yield client


@asynccontextmanager
async def of_embedded(quirks: list[str]) -> AsyncIterator[Client]:
    async with (
        endpoint_process(Behaviour(quirks=quirks)) as endpoint,
        Client(base_url=endpoint.base_url, model="m", policies=[]) as client,
    ):
        yield client


def check_read(name: str, text: str, reply: Reply, plain: str) -> None:
    """Check that an answer with this quirk has the same text as one without."""
    assert text == reply.text
    if name == "duplicate-tool-index":
        assert [call.name for call in TOOLS.calls(reply)] == ["now", "now"]
        assert len({call.id for call in TOOLS.calls(reply)}) == 2
        assert text == ""
    elif name == "code-fence":
        assert plain in text
    else:
        assert text == plain + ("\ufffd" if name == "half-surrogate" else "")
    thinks = name in {"thinking-parts", "think-block", "reasoning-content"}
    assert reply.reasoning.strip() == ("Well." if thinks else "")


@pytest.mark.anyio
@pytest.mark.parametrize("ask", [whole, streamed])
@pytest.mark.parametrize("name", READABLE)
async def test_fake_answer_with_readable_quirk_is_read(name: str, ask: Ask) -> None:
    async with of_fake([name]) as client:
        check_read(name, *await ask(client), "red")


@pytest.mark.anyio
@pytest.mark.parametrize("ask", [whole, streamed])
@pytest.mark.parametrize("name", UNREADABLE)
async def test_fake_answer_with_unreadable_quirk_is_an_error(name: str, ask: Ask) -> None:
    async with of_fake([name]) as client:
        with pytest.raises(CallError) as caught:
            await ask(client)
    assert caught.value.retryable == (name != "payment-required")


@pytest.mark.anyio
async def test_embedded_endpoint_has_the_quirks() -> None:
    async with of_embedded([]) as client:
        plain, _ = await whole(client)
    for name in (
        "think-block",
        "null-chunks",
        "no-last-blank-line",
        "half-surrogate",
        "duplicate-tool-index",
    ):
        async with of_embedded([name]) as client:
            check_read(name, *await whole(client), plain)
            check_read(name, *await streamed(client), plain)
    for refused in ("error-with-200", "empty-body"):
        async with of_embedded([refused]) as client:
            for ask in (whole, streamed):
                with pytest.raises((InvalidReply, CallError)):
                    await ask(client)
    async with of_embedded(["payment-required"]) as client:
        with pytest.raises(StatusError, match="Insufficient Balance"):
            await whole(client)


def test_a_single_choice_is_the_first_one_whole_and_streamed() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": PROMPT}], "n": 3}
    completion = create_completion(msgspec.convert(body, ChatRequest), id="c", seed=1)
    whole_draft = ResponseDraft({}, body=msgspec.json.decode(completion.body()))
    READABLE["single-choice"](whole_draft)
    (choice,) = whole_draft.body["choices"]
    events = completion.events(include_usage=True)[:-1]
    streamed_draft = ResponseDraft({}, chunks=[msgspec.json.decode(event[6:]) for event in events])
    READABLE["single-choice"](streamed_draft)
    deltas = [chunk["choices"][0]["delta"] for chunk in streamed_draft.chunks if chunk["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == choice["message"]["content"]


def test_several_quirks_can_be_combined() -> None:
    assert Behaviour(quirks=["no-done", "think-block"]).quirks == ("no-done", "think-block")


@pytest.mark.parametrize(
    "make", [lambda names: Behaviour(quirks=names), lambda names: FakeEndpoint(quirks=names)]
)
def test_unknown_quirk_error_lists_the_known_quirks(make: Callable[[list[str]], Any]) -> None:
    with pytest.raises(ValueError, match="unknown quirk 'think-blok': must be one of null-chunks"):
        make(["think-blok"])


def test_every_quirk_is_documented() -> None:
    docs = Path(__file__).parents[3] / "docs/explanation/embedded-endpoint.md"
    text = docs.read_text(encoding="utf-8")
    assert [name for name in (*READABLE, *UNREADABLE) if f"| `{name}` |" not in text] == []
