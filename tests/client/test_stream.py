"""Streams: chunks, the complete reply, failures, leaving early, and what policies do at the end."""

from __future__ import annotations

import logging
import pickle
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import anyio
import attrs
import msgspec
import pytest
import trio

from headrace import (
    BudgetExceeded,
    Call,
    CallError,
    CallTimeout,
    Chunk,
    Client,
    ClientStateError,
    DeadlineExceeded,
    Headers,
    IncompleteReply,
    InvalidReply,
    Reply,
    RequestError,
    ServerError,
    Stage,
    StatusError,
    StreamResult,
    Timeout,
)
from headrace.testing import Answer, FakeEndpoint
from headrace.transports.memory import MemoryTransport
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_logging import Logging
from headrace_retry import Retry

PRICES = {"fake-model": {"input": "1", "output": "2"}}


def text_chunk(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return b"data: %b\n\n" % msgspec.json.encode({"model": "fake-model", "choices": [choice]})


USED = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"


@attrs.define
class Played:
    """A body made of parts: bytes, seconds to wait, or an error to raise."""

    parts: deque[bytes | float | Exception]
    closed: int = 0

    async def receive(self, until: float) -> bytes:
        while self.parts:
            part = self.parts.popleft()
            if isinstance(part, Exception):
                raise part
            if isinstance(part, bytes):
                return part
            with anyio.CancelScope(deadline=until):
                await anyio.sleep(part)
                continue
            raise CallTimeout("silent", "stall")
        return b""

    async def aclose(self) -> None:
        self.closed += 1


@attrs.define
class Player:
    """Streams the same parts to each call."""

    parts: tuple[bytes | float | Exception, ...]
    status: int = 200
    calls: list[Call] = attrs.field(factory=list)
    bodies: list[Played] = attrs.field(factory=list)

    async def handle(self, call: Call) -> Reply:
        self.calls.append(call)
        body = Played(deque(self.parts))
        self.bodies.append(body)
        return Reply(self.status, Headers([(b"content-type", b"text/event-stream")]), b"", stream=body)


def playing(*parts: bytes | float | Exception, **keywords: Any) -> tuple[Client, Player]:
    player = Player(parts)
    keywords = {"base_url": "http://fake.test/v1", "model": "fake-model", "policies": []} | keywords
    return Client(transport=MemoryTransport(player.handle), **keywords), player


async def read(client: Client, **keywords: Any) -> tuple[list[str], Reply]:
    async with client.stream("Hallo", **keywords) as stream:
        texts = [piece.text async for piece in stream]
    return texts, stream.reply


class Ends:
    """A policy that records how streams end."""

    name = "ends"
    stage = Stage.OBSERVE

    def __init__(self) -> None:
        self.endings: list[StreamResult] = []

    def wrap(self, send: Callable[..., Any]) -> Callable[..., Any]:
        async def noting(call: Call) -> Reply:
            reply: Reply = await send(call)
            call.add_done_callback(self.endings.append)
            return reply

        return noting


# Chunks and replies


@pytest.mark.anyio
async def test_chunks_come_first_then_the_reply() -> None:
    endpoint = FakeEndpoint(Answer("Guten Tag auch", prompt_tokens=12, completion_tokens=3))
    async with endpoint.client() as client:
        texts, reply = await read(client, temperature=0.3)
    assert texts == ["Guten", " Tag", " auch"]
    assert pickle.loads(pickle.dumps(reply)).text == reply.text
    assert reply.text == "Guten Tag auch"
    assert reply.finish_reason == "stop"
    assert reply.tool_calls == []
    assert reply.usage is not None
    assert reply.usage.total_tokens == 15
    assert reply.model == "fake-model"
    assert reply.body["object"] == "chat.completion"
    assert (reply.attempts, reply.status) == (1, 200)
    assert reply.time_to_first_token is not None
    assert 0 <= reply.time_to_first_token <= reply.elapsed
    (request,) = endpoint.attempts
    assert request.body is not None
    assert request.body["stream"] is True
    assert request.body["stream_options"] == {"include_usage": True}
    assert request.body["temperature"] == 0.3


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["stream_options", "extra_body"])
@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"include_obfuscation": False}, {"include_usage": True, "include_obfuscation": False}),
        ({"include_usage": False}, {"include_usage": False}),
        ({}, {"include_usage": True}),
    ],
)
async def test_stream_options_of_the_caller_are_kept(
    how: str, options: dict[str, bool], sent: dict[str, bool]
) -> None:
    client, player = playing(text_chunk("a", "stop"), DONE)
    async with client:
        if how == "extra_body":
            await read(client, extra_body={"stream_options": options})
        else:
            await read(client, stream_options=options)
    assert player.calls[0].request.body is not None
    assert player.calls[0].request.body["stream_options"] == sent


@pytest.mark.anyio
async def test_an_endpoint_without_streams_gives_one_chunk() -> None:
    async def handle(call: Call) -> Reply:
        content = Answer("all of it").content("m")
        return Reply(200, Headers([(b"content-type", b"application/json")]), content)

    async with Client(
        base_url="http://fake.test/v1", model="m", policies=[], transport=MemoryTransport(handle)
    ) as client:
        texts, reply = await read(client)
    assert texts == ["all of it"]
    assert reply.text == "all of it"
    assert reply.usage is not None


@pytest.mark.anyio
async def test_a_reply_of_a_policy_is_one_chunk() -> None:
    class Cache:
        name = "cache"
        stage = Stage.ANSWER

        def wrap(self, send: Callable[..., Any]) -> Callable[..., Any]:
            async def answer(call: Call) -> Reply:
                return Reply(200, Headers([]), Answer("remembered").content("m"))

            return answer

    async with FakeEndpoint().client([Cache()]) as client:
        texts, reply = await read(client)
    assert texts == ["remembered"]
    assert reply.attempts == 0


@pytest.mark.anyio
async def test_an_invalid_reply_of_a_policy_ends_the_stream_and_releases_its_token() -> None:
    class Cache:
        name = "cache"
        stage = Stage.ANSWER

        def wrap(self, send: Callable[..., Any]) -> Callable[..., Any]:
            async def answer(call: Call) -> Reply:
                return Reply(200, Headers([]), b'{"choices": []}')

            return answer

    ends = Ends()
    async with FakeEndpoint().client([ends, Cache()]) as client:
        with pytest.raises(InvalidReply) as caught:
            async with client.stream("Hallo"):
                raise AssertionError
        assert client.in_flight == 0
    assert [ending.error for ending in ends.endings] == [caught.value]


@pytest.mark.anyio
async def test_a_finish_reason_ends_a_stream_without_done() -> None:
    client, player = playing(text_chunk("a"), text_chunk("b", "stop"), USED)
    async with client:
        texts, reply = await read(client)
    assert (texts, reply.text) == (["a", "b"], "ab")
    assert player.bodies[0].closed == 1


@pytest.mark.anyio
async def test_done_ends_a_stream_without_a_finish_reason() -> None:
    client, _ = playing(text_chunk("a"), DONE)
    async with client:
        texts, reply = await read(client)
    assert (texts, reply.finish_reason) == (["a"], None)


@pytest.mark.trio
async def test_a_connection_held_open_after_done_delays_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, player = playing(text_chunk("a", "stop"), DONE, 3600.0)
    async with client:
        await read(client)
        assert trio.current_time() < 0.1
    assert player.bodies[0].closed == 1


@pytest.mark.trio
async def test_a_connection_held_open_without_done_delays_little(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, _ = playing(text_chunk("a", "stop"), 1.0, USED, 3600.0)
    async with client:
        _, reply = await read(client)
        assert reply.text == "a"
        assert reply.usage is not None
        assert 2 <= trio.current_time() < 3


@pytest.mark.anyio
async def test_an_empty_answer_has_no_chunks() -> None:
    client, _ = playing(text_chunk("", "stop"), USED, DONE)
    async with client:
        texts, reply = await read(client)
    assert (texts, reply.text) == ([], "")


# Failures


@pytest.mark.anyio
async def test_a_truncated_stream_raises_with_the_partial_reply() -> None:
    client, player = playing(text_chunk("Gu"), text_chunk("ten"))
    async with client:
        async with client.stream("Hallo", id="7") as stream:
            with pytest.raises(IncompleteReply, match="ended before the answer was complete") as caught:
                async for _ in stream:
                    pass
            with pytest.raises(ClientStateError, match="not read to its end"):
                _ = stream.reply
            assert [piece async for piece in stream] == []
        assert client.in_flight == 0
    error = caught.value
    assert error.partial is not None
    assert (error.partial.text, error.partial.finish_reason) == ("Guten", None)
    assert error.request is not None
    assert (error.request.id, error.attempts) == ("7", 1)
    assert player.bodies[0].closed == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error": {"message": "overloaded, sk-canary"}}\n\n',
        b'event: error\ndata: {"message": "overloaded, sk-canary"}\n\n',
    ],
)
async def test_an_error_event_is_raised_without_the_key(event: bytes) -> None:
    client, player = playing(
        text_chunk("Gu"), event, text_chunk("x"), policies=[Retry()], api_key="sk-canary"
    )
    async with client, client.stream("Hallo") as stream:
        assert await anext(stream) == Chunk("Gu")
        with pytest.raises(InvalidReply, match="ended the stream with an error") as caught:
            await anext(stream)
    assert "overloaded" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert len(player.calls) == 1, "nothing is sent again after the first chunk"


@pytest.mark.anyio
async def test_errors_before_the_first_chunk_are_retried() -> None:
    endpoint = FakeEndpoint(
        503, Answer(body=b'data: {"error":{"message":"busy"}}\n\n'), Answer(body=b": nothing\n\n"), "at last"
    )
    async with endpoint.client([Retry(attempts=4, base=0)]) as client:
        texts, reply = await read(client)
    assert texts == ["at", " last"]
    assert reply.attempts == 4


@pytest.mark.anyio
async def test_errors_before_the_stream_are_like_those_of_chat() -> None:
    async with FakeEndpoint(500, 404).client() as client:
        with pytest.raises(ServerError) as caught:
            await read(client)
        assert caught.value.attempts == 1
        with pytest.raises(StatusError, match="404"):
            await read(client)
        assert client.in_flight == 0
        with pytest.raises(RequestError, match="temprature"):
            client.stream("Hallo", temprature=1)  # type: ignore[call-arg]


@pytest.mark.trio
async def test_a_stall_between_chunks_has_its_own_timeout(autojump_clock: trio.testing.MockClock) -> None:
    client, player = playing(
        text_chunk("a"), 4.0, text_chunk("b"), 4.0, b": still here\n\n", 4.0, text_chunk("c")
    )
    async with client, client.stream("Hallo", timeout=Timeout(total=1, stall=5)) as stream:
        assert (await anext(stream)).text == "a"
        assert (await anext(stream)).text == "b"
        with pytest.raises(CallTimeout) as caught:
            await anext(stream)
    assert caught.value.phase == "stall"
    assert caught.value.partial is not None
    assert caught.value.partial.text == "ab"
    assert trio.current_time() == 9
    assert player.bodies[0].closed == 1


@pytest.mark.trio
async def test_the_first_chunk_must_arrive_within_total(autojump_clock: trio.testing.MockClock) -> None:
    client, player = playing(b": wait\n\n", 100.0, text_chunk("a"), timeout=Timeout(total=3))
    async with client:
        with pytest.raises(CallTimeout):
            await read(client)
    assert trio.current_time() == 3
    assert player.bodies[0].closed == 1


@pytest.mark.trio
async def test_a_deadline_limits_the_whole_stream(autojump_clock: trio.testing.MockClock) -> None:
    slowly = [part for _ in range(100) for part in (text_chunk("x"), 1.0)]
    client, _ = playing(*slowly)
    async with client, client.stream("Hallo", deadline=10) as stream:
        with pytest.raises(DeadlineExceeded, match="deadline of 10 s") as caught:
            async for _ in stream:
                pass
    assert caught.value.partial is not None
    assert caught.value.partial.text == "x" * 10
    assert trio.current_time() == 10


@pytest.mark.anyio
async def test_an_endpoint_that_rejects_include_usage_is_not_asked_again() -> None:
    refusal = Answer(status=400, body=b'{"error":{"message":"unknown field: stream_options"}}')
    endpoint = FakeEndpoint(refusal, "a", "b", 400)
    async with endpoint.client() as client:
        _, reply = await read(client)
        assert (reply.text, reply.attempts) == ("a", 2)
        _, reply = await read(client)
        assert (reply.text, reply.attempts) == ("b", 1)
        with pytest.raises(StatusError):
            await read(client)
    has_options = ["stream_options" in (request.body or {}) for request in endpoint.attempts]
    assert has_options == [True, False, False, False]


# Leaving early and cancellation


@pytest.mark.anyio
async def test_leaving_early_closes_the_stream_and_releases_its_token() -> None:
    ends = Ends()
    client, player = playing(
        text_chunk("a"), text_chunk("b"), text_chunk("c", "stop"), max_in_flight=1, policies=[ends]
    )
    async with client:
        async with client.stream("Hallo") as stream:
            assert client.in_flight == 1
            async for piece in stream:
                if piece.text == "b":
                    break
        with pytest.raises(ClientStateError, match=r"use stream\.partial"):
            _ = stream.reply
        assert stream.partial.text == "ab"
        assert client.in_flight == 0
        assert player.bodies[0].closed == 1
        await read(client)
    assert ends.endings == [StreamResult(), StreamResult(complete=True)]


@pytest.mark.anyio
async def test_an_error_of_the_block_is_not_a_failure_of_the_stream() -> None:
    ends = Ends()
    client, player = playing(text_chunk("a"), text_chunk("b", "stop"), policies=[ends])
    async with client:
        with pytest.raises(ZeroDivisionError):
            async with client.stream("Hallo"):
                raise ZeroDivisionError
    assert ends.endings == [StreamResult()]
    assert player.bodies[0].closed == 1


@pytest.mark.trio
async def test_a_cancelled_stream_is_closed_and_not_a_failure(autojump_clock: trio.testing.MockClock) -> None:
    ends, breaker = Ends(), Breaker(consecutive=1)
    client, player = playing(text_chunk("a"), 100.0, policies=[ends, breaker])
    async with client:
        with trio.move_on_after(5) as scope:
            await read(client)
        assert scope.cancelled_caught
        assert client.in_flight == 0
        (ending,) = ends.endings
        assert isinstance(ending.error, trio.Cancelled)
        assert breaker.state("http://fake.test/v1") == "closed"
    assert player.bodies[0].closed == 1


@pytest.mark.anyio
async def test_a_stream_waits_for_a_token_and_can_be_entered_once() -> None:
    client, _ = playing(text_chunk("a", "stop"), DONE, max_in_flight=1)
    async with client:
        order = []

        async def second() -> None:
            async with client.stream("Hallo"):
                order.append("second")

        async with anyio.create_task_group() as group, client.stream("Hallo") as stream:
            group.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            order.append("first")
        assert order == ["first", "second"]
        with pytest.raises(ClientStateError, match="entered only once"):
            await stream.__aenter__()
        unentered = client.stream("Hallo")
        with pytest.raises(ClientStateError, match="enter the stream first"):
            await anext(unentered)
        with pytest.raises(ClientStateError, match="enter the stream first"):
            _ = unentered.partial
        with pytest.raises(ClientStateError, match="not read to its end"):
            _ = unentered.reply


# What policies do at the end


@pytest.mark.anyio
async def test_the_cost_is_for_the_whole_stream() -> None:
    cost, ends = Cost(prices=PRICES), Ends()
    client, _ = playing(text_chunk("a"), text_chunk("b", "stop"), USED, DONE, policies=[cost, ends])
    async with client:
        async with client.stream("Hallo", tags={"team": "x"}) as stream:
            await anext(stream)
            assert cost.totals.calls == 0
            assert ends.endings == []
            async for _ in stream:
                pass
        assert stream.reply.cost == Decimal("0.000007")
    assert (cost.totals.calls, cost.totals.completion_tokens) == (1, 2)
    assert cost.totals.by_tag["team=x"].calls == 1
    assert ends.endings == [StreamResult(complete=True)]


@pytest.mark.anyio
async def test_a_budget_is_settled_at_the_end_or_by_the_worst_case() -> None:
    cost = Cost(prices=PRICES, budget="0.0006")
    client, _ = playing(text_chunk("a"), text_chunk("b", "stop"), USED, DONE, policies=[cost])
    async with client:
        await read(client, max_tokens=100)
        assert cost.totals.cost == Decimal("0.000007")
        async with client.stream("Hallo", max_tokens=100) as stream:
            await anext(stream)
        with pytest.raises(BudgetExceeded):
            await read(client, max_tokens=100)


@pytest.mark.anyio
async def test_the_breaker_counts_streams_that_break() -> None:
    breaker = Breaker(failure_rate=None, consecutive=2, open_for=60)
    client, _ = playing(text_chunk("a"), policies=[breaker])
    async with client:
        for _ in range(2):
            assert breaker.state("http://fake.test/v1") == "closed"
            with pytest.raises(IncompleteReply):
                await read(client)
        assert breaker.state("http://fake.test/v1") == "open"


@pytest.mark.trio
async def test_a_probe_that_is_a_stream_releases_its_permit(autojump_clock: trio.testing.MockClock) -> None:
    breaker = Breaker(failure_rate=None, consecutive=1, open_for=60, probes=1)
    client, player = playing(text_chunk("a"), policies=[breaker])
    async with client:
        with pytest.raises(CallError):
            await read(client)
        await trio.sleep(60)
        with trio.move_on_after(1):
            async with client.stream("Hallo"):
                await trio.sleep(10)
        player.parts = (text_chunk("a", "stop"), DONE)
        await read(client)
        assert breaker.state("http://fake.test/v1") == "closed"


@pytest.mark.anyio
async def test_the_log_has_one_line_per_stream(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headrace")
    client, player = playing(text_chunk("a"), text_chunk("b", "stop"), USED, DONE, policies=[Logging()])
    async with client:
        await read(client)
        async with client.stream("Hallo") as stream:
            await anext(stream)
        player.parts = (text_chunk("a"),)
        with pytest.raises(IncompleteReply):
            await read(client)
        with anyio.CancelScope() as scope:
            async with client.stream("Hallo") as stream:
                scope.cancel()
                await anyio.sleep(1)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(" gen_ai")[0].split(" headrace")[0] for line in lines] == [
        "call ok",
        "stream left early",
        "call failed",
        "call cancelled",
    ]


@pytest.mark.anyio
async def test_an_error_of_one_callback_does_not_stop_the_others() -> None:
    ends = Ends()

    class Careless:
        name = "careless"
        stage = Stage.PACE

        def wrap(self, send: Callable[..., Any]) -> Callable[..., Any]:
            async def careless(call: Call) -> Reply:
                reply: Reply = await send(call)
                call.add_done_callback(self.ended)
                return reply

            return careless

        def ended(self, ending: StreamResult) -> None:
            raise ZeroDivisionError

    client, player = playing(text_chunk("a", "stop"), DONE, policies=[Careless(), ends])
    async with client:
        with pytest.raises(ZeroDivisionError):
            await read(client)
        player.parts = (text_chunk("a"),)
        with pytest.raises(IncompleteReply):
            await read(client)
        assert client.in_flight == 0
    assert [ending.complete for ending in ends.endings] == [True, False]


@pytest.mark.anyio
async def test_an_outer_policy_that_fails_ends_the_stream_for_inner_ones() -> None:
    ends = Ends()

    class Refusing:
        name = "a-refusing"
        stage = Stage.OBSERVE

        def wrap(self, send: Callable[..., Any]) -> Callable[..., Any]:
            async def refuse(call: Call) -> Reply:
                await send(call)
                raise InvalidReply("not what I wanted")

            return refuse

    client, _ = playing(text_chunk("a", "stop"), policies=[Refusing(), ends])
    async with client:
        with pytest.raises(InvalidReply):
            await read(client)
        assert client.in_flight == 0
    (ending,) = ends.endings
    assert isinstance(ending.error, InvalidReply)


@pytest.mark.anyio
async def test_the_old_name_at_end_works_and_warns() -> None:
    results: list[StreamResult] = []

    class Old:
        name = "old"
        stage = Stage.OBSERVE

        def wrap(self, send: Callable[..., Any]) -> Callable[..., Any]:
            async def watch(call: Call) -> Reply:
                reply: Reply = await send(call)
                with pytest.warns(DeprecationWarning, match=r"use Call\.add_done_callback"):
                    call.at_end(results.append)
                return reply

            return watch

    client, _ = playing(text_chunk("a", "stop"), DONE, policies=[Old()])
    async with client:
        await read(client)
    assert [result.complete for result in results] == [True]
