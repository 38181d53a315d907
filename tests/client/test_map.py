"""Maps: requests are read lazily, the number of held items is limited, items do not affect each other."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from headrace import (
    Call,
    Client,
    ClientStateError,
    Headers,
    Outcome,
    PolicyError,
    Reply,
    Request,
    RequestError,
    ServerError,
    SettingsError,
)
from headrace.testing import Answer, FakeEndpoint
from headrace.transports.memory import MemoryTransport

ANSWER = b'{"choices":[{"message":{"content":"ok"}}]}'


class Counting:
    """An input that counts the items read from it."""

    def __init__(self, length: int, item: Callable[[int], Any] = str) -> None:
        self.length = length
        self.item = item
        self.drawn = 0

    def __iter__(self) -> Iterator[Any]:
        for number in range(self.length):
            self.drawn += 1
            yield self.item(number)

    async def draw_async(self) -> AsyncGenerator[Any, None]:
        for item in self:
            await anyio.lowlevel.checkpoint()
            yield item


def echo_client(**keywords: Any) -> Client:
    """A client whose endpoint echoes the prompt after a delay that depends on its number."""

    async def handle(call: Call) -> Reply:
        assert call.request.body is not None
        prompt = call.request.body["messages"][0]["content"]
        await anyio.sleep(int(prompt) * 7 % 5 / 1000)
        return Reply(200, Headers([]), b'{"choices":[{"message":{"content":"%s"}}]}' % prompt.encode())

    keywords = {"base_url": "http://fake.test/v1", "model": "m", "policies": []} | keywords
    return Client(transport=MemoryTransport(handle), **keywords)


def text(outcome: Outcome) -> str:
    return outcome.unwrap().text


@pytest.mark.anyio
async def test_every_item_becomes_one_outcome_with_its_index() -> None:
    async with echo_client() as client, client.map(map(str, range(250)), max_in_flight=20) as outcomes:
        seen = {outcome.index: text(outcome) async for outcome in outcomes}
    assert seen == {number: str(number) for number in range(250)}


@pytest.mark.anyio
async def test_ordered_yields_outcomes_in_input_order() -> None:
    async with echo_client() as client:
        async with client.map(map(str, range(100)), max_in_flight=10) as outcomes:
            indices = [outcome.index async for outcome in outcomes]
        assert indices != sorted(indices), "a test of nothing: they came in order by themselves"
        async with client.map(map(str, range(100)), max_in_flight=10, ordered=True) as outcomes:
            assert [text(outcome) async for outcome in outcomes] == [str(n) for n in range(100)]


@pytest.mark.anyio
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("buffer", [None, 0, 3])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_number_of_held_items_is_limited(ordered: bool, buffer: int | None, kind: str) -> None:
    most = 8 + (8 if buffer is None else buffer)
    source = Counting(400)
    taken, held = 0, []
    async with echo_client() as client, aclosing(source.draw_async()) as drawing:
        items: Any = drawing if kind == "async" else source
        async with client.map(items, max_in_flight=8, ordered=ordered, buffer=buffer) as outcomes:
            async for _ in outcomes:
                taken += 1
                held.append(source.drawn - taken)
    assert taken == 400
    assert max(held) <= most


@pytest.mark.anyio
async def test_a_slow_consumer_slows_the_sending(fake_endpoint: FakeEndpoint) -> None:
    source = Counting(1000)
    async with fake_endpoint.client(max_in_flight=5) as client, client.map(source) as outcomes:
        for taken in range(1, 30):
            await anext(outcomes)
            for _ in range(50):  # without the limit, all items would be read in this time
                await anyio.lowlevel.checkpoint()
            assert len(fake_endpoint.attempts) <= taken + 10
            assert source.drawn <= taken + 10


@pytest.mark.anyio
async def test_without_a_buffer_nothing_is_sent_while_an_outcome_waits(fake_endpoint: FakeEndpoint) -> None:
    async with (
        fake_endpoint.client() as client,
        client.map(Counting(100), max_in_flight=3, buffer=0) as outcomes,
    ):
        await anyio.wait_all_tasks_blocked()
        assert len(fake_endpoint.attempts) == 3
        assert len(await outcomes.batch()) == 3
        await anyio.wait_all_tasks_blocked()
        assert len(fake_endpoint.attempts) == 6


@pytest.mark.anyio
async def test_batches_have_all_ready_outcomes_and_end_empty() -> None:
    seen: list[str] = []
    async with echo_client() as client, client.map(map(str, range(50)), max_in_flight=9) as outcomes:
        while batch := await outcomes.batch():
            seen += map(text, batch)
    assert sorted(seen, key=int) == [str(n) for n in range(50)]


@pytest.mark.anyio
async def test_several_tasks_may_take_outcomes_of_one_map() -> None:
    seen: list[str] = []
    async with echo_client() as client, client.map(map(str, range(60)), max_in_flight=4) as outcomes:

        async def take() -> None:
            seen.extend([text(outcome) async for outcome in outcomes])

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(take)
    assert sorted(seen, key=int) == [str(n) for n in range(60)]


@pytest.mark.anyio
async def test_a_failing_item_does_not_affect_others() -> None:
    endpoint = FakeEndpoint("a", 500, "b", ValueError("a bug"), "c")
    async with endpoint.client() as client, client.map(["x"] * 5, max_in_flight=1) as outcomes:
        seen = [outcome async for outcome in outcomes]
    assert [outcome.ok for outcome in seen] == [True, False, True, False, True]
    assert isinstance(seen[1].error, ServerError)
    assert isinstance(seen[3].error, PolicyError)
    assert [outcome.attempts for outcome in seen] == [1] * 5
    with pytest.raises(ServerError):
        seen[1].unwrap()


@pytest.mark.anyio
async def test_all_kinds_of_items_are_accepted(fake_endpoint: FakeEndpoint) -> None:
    messages = [{"role": "user", "content": "Hallo"}]
    line = {"custom_id": "7", "method": "POST", "url": "/v1/embeddings", "body": {"model": "e", "input": "x"}}
    items: list[Any] = ["Hallo", {"messages": messages}, Request({"messages": messages}, id="r"), line]
    async with fake_endpoint.client(model="m") as client, client.map(items, ordered=True) as outcomes:
        seen = [outcome async for outcome in outcomes]
    assert [outcome.id for outcome in seen] == [None, None, "r", "7"]
    assert all(outcome.ok for outcome in seen)
    bodies = sorted((request.path, str(request.body)) for request in fake_endpoint.attempts)
    chat = ("/chat/completions", str({"model": "m", "messages": messages}))
    assert bodies == [chat, chat, chat, ("/embeddings", str({"model": "e", "input": "x"}))]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wrong",
    [
        5,
        None,
        b"Hallo",
        ["Hallo"],
        pytest.param({"messages": object()}, id="an object"),
        {"messages": "x", "stream": True},
        {"url": 5, "body": {}},
        {"url": "/v1/x", "body": []},
        {"url": "no-slash", "body": {}},
        {"url": "/v1/a b", "body": {}},
        {"url": "/v1/x", "body": {}, "custom_id": 5},
        {"url": "/v1/x", "body": {}, "method": "GE T"},
        {"messages": [], "model": "a\nb"},
        Request([]),  # type: ignore[arg-type]
    ],
    ids=repr,
)
async def test_an_invalid_item_becomes_an_outcome_with_an_error(
    fake_endpoint: FakeEndpoint, wrong: Any
) -> None:
    async with fake_endpoint.client() as client, client.map(["a", wrong, "b"], ordered=True) as outcomes:
        seen = [outcome async for outcome in outcomes]
    assert [outcome.ok for outcome in seen] == [True, False, True]
    assert isinstance(seen[1].error, RequestError)
    assert (seen[1].index, seen[1].attempts) == (1, 0)
    assert len(fake_endpoint.attempts) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("wrong", ["Hallo", {"messages": []}, 5, None])
async def test_a_map_of_an_invalid_input_raises_at_once(fake_endpoint: FakeEndpoint, wrong: Any) -> None:
    async with fake_endpoint.client() as client:
        with pytest.raises(RequestError, match="iterable of requests"):
            client.map(wrong)


@pytest.mark.anyio
@pytest.mark.parametrize("keywords", [{"max_in_flight": 0}, {"max_in_flight": -1}, {"buffer": -1}])
async def test_a_map_with_invalid_limits_raises_at_once(
    fake_endpoint: FakeEndpoint, keywords: dict[str, Any]
) -> None:
    async with fake_endpoint.client() as client:
        with pytest.raises(SettingsError, match=next(iter(keywords))):
            client.map(["Hallo"], **keywords)


@pytest.mark.anyio
async def test_an_empty_map_ends_at_once(fake_endpoint: FakeEndpoint) -> None:
    async with fake_endpoint.client() as client:
        nothings: list[Any] = [[], iter(()), Counting(0).draw_async()]
        for nothing in nothings:
            async with client.map(nothing) as outcomes:
                assert [outcome async for outcome in outcomes] == []


@pytest.mark.anyio
async def test_a_map_raises_if_not_entered_or_entered_twice(fake_endpoint: FakeEndpoint) -> None:
    async with fake_endpoint.client() as client:
        outcomes = client.map(["Hallo"])
        with pytest.raises(ClientStateError, match="async with"):
            await anext(outcomes)
        async with outcomes:
            pass
        with pytest.raises(ClientStateError, match="once"):
            await outcomes.__aenter__()


@pytest.mark.anyio
@pytest.mark.parametrize(("of_client", "of_map", "most"), [(10, 2, 2), (2, 10, 2), (10, None, 10)])
async def test_a_map_has_its_own_limit_within_the_clients(
    of_client: int, of_map: int | None, most: int
) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.001))
    async with (
        endpoint.client(max_in_flight=of_client) as client,
        client.map(["Hallo"] * 40, max_in_flight=of_map) as outcomes,
    ):
        assert len([outcome async for outcome in outcomes]) == 40
    assert endpoint.most_in_flight == most


@pytest.mark.anyio
async def test_memory_is_constant_over_40_000_items() -> None:
    async def handle(call: Call) -> Reply:
        return Reply(200, Headers([]), ANSWER)

    client = Client(
        base_url="http://fake.test",
        model="m",
        policies=[],
        max_in_flight=50,
        transport=MemoryTransport(handle),
    )
    alive: list[int] = []
    async with client, client.map(Counting(40_000)) as outcomes:
        async for outcome in outcomes:
            if outcome.index % 10_000 == 5_000:
                gc.collect()
                alive.append(len(gc.get_objects()))
    assert len(alive) == 4
    assert max(alive) < alive[0] + 1000


SYSTEM, USER = {"role": "system", "content": "Short."}, {"role": "user", "content": "Hello"}


@pytest.mark.anyio
@pytest.mark.parametrize("messages", ["Hello", [USER], [SYSTEM, USER], (SYSTEM, USER)], ids=str)
async def test_a_map_takes_what_chat_takes(messages: Any) -> None:
    endpoint = FakeEndpoint()
    async with endpoint.client() as client:
        await client.chat(messages)
        async with client.map([messages]) as outcomes:
            [outcome] = [outcome async for outcome in outcomes]
        async with client.stream(messages) as stream:
            assert [chunk.text async for chunk in stream] == ["ok"]
    assert outcome.unwrap().text == "ok"
    assert outcome.item is messages
    by_chat, by_map, by_stream = (request.body for request in endpoint.attempts)
    assert by_chat == by_map
    assert by_stream is not None
    assert by_chat is not None
    assert by_stream["messages"] == by_chat["messages"]


@pytest.mark.anyio
async def test_one_conversation_passed_as_all_requests_is_explained() -> None:
    async with FakeEndpoint().client() as client, client.map([SYSTEM, USER]) as outcomes:
        errors = [str(outcome.error) async for outcome in outcomes]
    assert errors == ["a request must be a list of messages, not one message; write [message]"] * 2
