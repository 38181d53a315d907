"""The cache in a client, on both loops: what is a hit, and what a hit is."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import msgspec
import pytest

import headrace
from headrace.integrations.httpx import async_client
from headrace.testing import Answer, FakeEndpoint, check_policy_contract
from headrace.testing.server import Behaviour, endpoint_process
from headrace_cache import Cache

pytestmark = pytest.mark.anyio

KEY = "sk-canary-7f3a"
PRICES = {"fake-model": {"input": "1", "output": "2"}}
MIB = 1024 * 1024


@attrs.define
class Ear:
    """An observer that remembers."""

    name: str = "ear"
    events: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)

    def notify(self, event: headrace.Event) -> None:
        self.events.append((event.name, dict(event.data)))


@attrs.define
class Clock:
    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "answers.sqlite")


@pytest.fixture
def cache(path: str) -> Callable[..., Cache]:
    """Makes caches on one file."""
    return lambda **settings: Cache(path=path, **settings)


async def test_the_contract_of_policies(tmp_path: Path) -> None:
    numbers = itertools.count()
    await check_policy_contract(lambda: Cache(path=str(tmp_path / f"{next(numbers)}.sqlite")))
    await check_policy_contract(Cache)


async def test_a_hit_is_the_same_reply_without_an_attempt_and_without_a_cost(
    cache: Callable[..., Cache],
) -> None:
    endpoint, ear = FakeEndpoint(Answer("Guten Tag", headers={"x-request-id": "req-1"})), Ear()
    async with endpoint.client([cache()], observers=[ear]) as client:
        first = await client.chat("Hallo")
        second = await client.chat("Hallo")
        other = await client.chat("Hallo", temperature=0)
    assert (first.attempts, second.attempts, other.attempts) == (1, 0, 1)
    assert (second.status, second.text, second.model) == (200, "Guten Tag", "fake-model")
    assert (second.content, second.usage) == (first.content, first.usage)
    assert (first.cost, second.cost) == (None, Decimal(0))
    assert second.headers == {"content-type": "application/json"}
    assert (first.request_id, second.request_id) == ("req-1", None)
    assert len(endpoint.attempts) == 2
    assert ear.events == [("cache", {"hit": hit}) for hit in (False, True, False)]


async def test_it_outlives_the_client(cache: Callable[..., Cache]) -> None:
    endpoint = FakeEndpoint("Guten Tag")
    for _ in range(2):
        async with endpoint.client([cache()]) as client:
            assert (await client.chat("Hallo")).text == "Guten Tag"
    assert len(endpoint.attempts) == 1


async def test_what_failed_is_not_kept(cache: Callable[..., Cache]) -> None:
    endpoint = FakeEndpoint(500, headrace.ConnectError("refused"), Answer(body={"error": {}}), "ok")
    async with endpoint.client([cache()]) as client:
        for _ in range(3):
            with pytest.raises(headrace.CallError):
                await client.chat("Hallo")
        assert (await client.chat("Hallo")).attempts == 1


@pytest.mark.parametrize(
    ("method", "asked", "body"),
    [
        ("GET", "/models", None),
        ("POST", "/files", {}),
        ("POST", "/threads/1/messages", {"role": "user"}),
        ("DELETE", "/chat/completions", None),
        ("POST", "/responses", {"input": "Hallo", "background": True}),
        ("POST", "/responses", {"input": "Hallo", "conversation": "c"}),
    ],
)
async def test_what_does_more_than_answer_is_always_sent(
    cache: Callable[..., Cache], method: str, asked: str, body: dict[str, Any] | None
) -> None:
    endpoint, ear = FakeEndpoint(), Ear()
    async with endpoint.client([cache()], observers=[ear]) as client:
        for _ in range(2):
            assert (await client.request(method, asked, body)).attempts == 1
    assert ear.events == []


@pytest.mark.parametrize(
    "asked", ["/responses", "/embeddings", "/completions", "/v1/messages", "/x/embeddings?v=1"]
)
async def test_other_answers_are_kept_too(cache: Callable[..., Cache], asked: str) -> None:
    message = Answer(body={"type": "message", "content": [{"type": "text", "text": "Hi"}]})
    endpoint = FakeEndpoint(otherwise=message if asked.endswith("/messages") else "ok")
    async with endpoint.client([cache()]) as client:
        attempts = [(await client.request("POST", asked, {"input": "Hallo"})).attempts for _ in range(2)]
    assert attempts == [1, 0]


async def test_a_stream_passes_by(cache: Callable[..., Cache]) -> None:
    endpoint = FakeEndpoint("Guten Tag")
    async with endpoint.client([cache()]) as client:
        for _ in range(2):
            async with client.stream("Hallo") as stream:
                assert [piece.text async for piece in stream]
            assert stream.reply.attempts == 1


async def test_another_url_key_or_header_is_another_call(path: str) -> None:
    endpoint = FakeEndpoint()
    asked = {"messages": [{"role": "user", "content": "Hallo"}]}
    made = []
    for url, key, headers in (
        ("http://a.test/v1", None, ()),
        ("http://b.test/v1", None, ()),
        ("http://a.test/v1", KEY, ()),
        ("http://a.test/v1", "sk-another", ()),
        ("http://a.test/v1", None, (("openai-project", "p"),)),
        ("http://a.test/v1", None, (("OpenAI-Project", "p"), ("Idempotency-Key", "1"))),
        ("http://a.test/v1", KEY, (("x-stainless-retry-count", "1"),)),
    ):
        async with endpoint.client([Cache(path=path)], base_url=url, api_key=key) as client:
            request = headrace.Request(asked, headers=headers)
            async with client.map([request]) as outcomes:
                made += [outcome.attempts async for outcome in outcomes]
    assert made == [1, 1, 1, 1, 1, 0, 0]


async def test_no_key_is_in_the_file(path: str, tmp_path: Path) -> None:
    client = FakeEndpoint().client([Cache(path=path)], api_key=KEY)
    async with client:
        await client.chat("Hallo")
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())  # noqa: ASYNC240
    assert b"chatcmpl-fake" in written
    assert KEY.encode() not in written
    assert b"Hallo" not in written, "what was asked is not in it either"


async def test_an_answer_of_a_type_is_one_again(cache: Callable[..., Cache]) -> None:
    Repair = pytest.importorskip("headrace_repair").Repair

    @attrs.define
    class Person:
        age: int

    @attrs.define
    class Ghost:
        age: int | None

    endpoint = FakeEndpoint('{"age": "old"}', '{"age": 36}', '{"age": null}', "untyped")
    async with endpoint.client([cache(), Repair()]) as client:
        first = await client.chat("Who?", answer=Person)
        assert (first.answer, first.attempts) == (Person(36), 2)
        second = await client.chat("Who?", answer=Person)
        assert (second.answer, second.attempts) == (Person(36), 0)
        assert isinstance(second, headrace.ParsedReply)
        assert (await client.chat("Who?", answer=Ghost)).attempts == 1, "another schema is another question"
        assert (await client.chat("Who?")).text == "untyped"


async def test_an_answer_that_is_valid_no_more_is_asked_for_again(cache: Callable[..., Cache]) -> None:
    limit = 10

    class Small(msgspec.Struct):
        age: int

        def __post_init__(self) -> None:
            if self.age > limit:
                raise ValueError(f"above {limit}")

    endpoint = FakeEndpoint('{"age": 7}', '{"age": 3}')
    async with endpoint.client([cache()]) as client:
        assert (await client.chat("Who?", answer=Small)).answer.age == 7
        limit = 5
        assert (await client.chat("Who?", answer=Small)).answer.age == 3
        assert (await client.chat("Who?", answer=Small)).answer.age == 3
    assert len(endpoint.attempts) == 2


async def test_beside_the_cost_policy_a_hit_costs_nothing_and_uses_no_tokens(
    cache: Callable[..., Cache],
) -> None:
    # Of what is at most set aside for a call, no four would fit, had hits a cost.
    Cost = pytest.importorskip("headrace_cost").Cost
    cost = Cost(prices=PRICES, budget=Decimal("0.00015"), assumed_output_tokens=5)
    async with FakeEndpoint().client([cache(), cost]) as client:
        replies = [await client.chat("Hallo") for _ in range(20)]
    assert [reply.cost for reply in replies] == [Decimal("0.00002"), *[Decimal(0)] * 19]
    totals = cost.totals
    assert (totals.calls, totals.prompt_tokens, totals.completion_tokens) == (20, 10, 5)
    assert (totals.cost, totals.unpriced) == (Decimal("0.00002"), 0)


async def test_an_answer_grows_old_also_while_nobody_runs(path: str) -> None:
    clock, endpoint = Clock(), FakeEndpoint("old", "new")
    for seconds, said, attempts in ((0, "old", 1), (59, "old", 0), (2, "new", 1), (59, "new", 0)):
        clock.now += seconds
        async with endpoint.client([Cache(path=path, max_age=60, clock=clock)]) as client:
            reply = await client.chat("Hallo")
        assert (reply.text, reply.attempts) == (said, attempts)
    async with endpoint.client([Cache(path=path, clock=clock)]) as client:
        clock.now += 1e9
        assert (await client.chat("Hallo")).attempts == 0


async def test_what_was_not_used_for_the_longest_time_goes_first(path: str) -> None:
    clock, endpoint = Clock(), FakeEndpoint(otherwise="x" * 40_000)
    async with endpoint.client([Cache(path=path, max_bytes=MIB, clock=clock)]) as client:
        for number in range(60):
            clock.now += 1
            await client.chat(f"{number}")
            clock.now += 1
            assert (await client.chat("0")).attempts == 0, f"used all the time, and gone after {number}"
        # The first and the last are there, 1 is not; what was put in place of it is small.
        assert [(await client.chat(name)).attempts for name in ("59", "0", "1")] == [0, 0, 1]
    assert os.stat(path).st_size < 1.25 * MIB


async def test_a_reply_that_would_drive_out_all_others_is_not_kept(path: str) -> None:
    endpoint = FakeEndpoint("small", "x" * (MIB // 16))
    async with endpoint.client([Cache(path=path, max_bytes=MIB)]) as client:
        attempts = [(await client.chat(name)).attempts for name in ("a", "b", "b", "a")]
    assert attempts == [1, 1, 1, 0]


async def test_what_another_sdk_asks_is_kept_with_its_content_type(path: str) -> None:
    pytest.importorskip("uvicorn")
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hallo"}]}
    async with endpoint_process(Behaviour(seed=7)) as endpoint:
        said = []
        async with async_client(policies=[Cache(path=path)]) as client:
            for retry in ("0", "1"):
                headers = {"x-stainless-retry-count": retry, "authorization": f"Bearer {KEY}"}
                answer = await client.post(
                    f"{endpoint.base_url}/chat/completions", json=body, headers=headers
                )
                said.append((answer.status_code, answer.headers["content-type"], answer.json()))
            counts = await client.get(f"{endpoint.base_url.removesuffix('/v1')}/headrace/counts")
    assert said[0] == said[1]
    assert counts.json()["requests"] == 1, counts.json()


async def test_nothing_can_be_written_and_the_calls_go_on(
    path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_cache.database.PATIENCE", 0.01)
    endpoint = FakeEndpoint()
    async with endpoint.client([Cache(path=path)]) as client:
        await client.chat("kept")
        # Another program has the file for itself.
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with client.map([f"{number}" for number in range(20)]) as outcomes:
                assert [outcome.unwrap().text async for outcome in outcomes] == ["ok"] * 20
        assert (await client.chat("kept")).attempts == 1
    assert [record.getMessage() for record in caplog.records if record.name == "headrace.cache"] == [
        "the cache is not used any more: database is locked; calls go on without it"
    ]


def late(path: str) -> int:
    """How many replies were used at 2000."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        number: int = other.execute("SELECT count(*) FROM replies WHERE used = 2000.0").fetchone()[0]
        return number


async def test_many_hits_are_written_down_before_the_end(path: str) -> None:
    clock, endpoint = Clock(1000.0), FakeEndpoint()
    async with endpoint.client([Cache(path=path, clock=clock)]) as client:
        for wanted in (1, 0):
            async with client.map([f"{number}" for number in range(700)]) as outcomes:
                assert {outcome.attempts async for outcome in outcomes} == {wanted}
            clock.now = 2000.0
        assert 500 <= late(path) < 700
    assert late(path) == 700, "and the rest at the end"


def test_settings_that_cannot_be() -> None:
    with pytest.raises(headrace.SettingsError, match="max_age=0: must be a number of seconds above 0"):
        Cache(max_age=0)
    with pytest.raises(headrace.SettingsError, match="max_bytes=1000: must be at least 1048576"):
        Cache(max_bytes=1000)


def test_installed_it_does_nothing_until_it_is_given_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cache" not in [policy.name for policy in FakeEndpoint().client(None).policies]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("HEADRACE_POLICIES", "cache")
    with pytest.raises(headrace.SettingsError, match="no path= to a file"):
        FakeEndpoint().client(None)
    monkeypatch.setenv("HEADRACE_CACHE_PATH", path)
    (cache,) = FakeEndpoint().client(None).policies
    assert isinstance(cache, Cache)
    assert cache.path == path

    async def send(call: headrace.Call) -> headrace.Reply:
        raise NotImplementedError

    assert Cache().wrap(send) is send


async def test_a_loop_over_hits_lets_others_have_a_turn(cache: Callable[..., Cache]) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with FakeEndpoint().client([cache()]) as client, anyio.create_task_group() as group:
        await client.chat("Hallo")
        group.start_soon(others)
        await anyio.lowlevel.checkpoint()
        before = turns
        for _ in range(50):
            await client.chat("Hallo")
        assert turns >= before + 49
        group.cancel_scope.cancel()


async def test_the_file_is_closed_with_the_last_of_the_clients_that_share_it(path: str) -> None:
    cache, endpoint, (folder, name) = Cache(path=path), FakeEndpoint(), os.path.split(path)
    async with endpoint.client([cache]) as first:
        async with endpoint.client([cache]) as second:
            await second.chat("Hallo")
        assert (await first.chat("Hallo")).attempts == 0
        assert os.listdir(folder) != [name]
    assert os.listdir(folder) == [name], "the last one to close the file folds the log into it"
    async with endpoint.client([cache]) as again:
        assert (await again.chat("Hallo")).attempts == 0


async def test_outside_of_its_clients_block_it_says_so(path: str) -> None:
    async def send(call: headrace.Call) -> headrace.Reply:
        raise AssertionError

    call = headrace.Call(
        headrace.Request({"model": "m", "messages": []}),
        headrace.Endpoint("http://fake.test/v1"),
        b"{}",
        headrace.Timeout(),
        0.0,
    )
    with pytest.raises(headrace.ClientStateError, match="in the block of its client"):
        await Cache(path=path).wrap(send)(call)
