"""The cache in a client, on trio and asyncio: which calls are hits, and what a hit returns."""

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
from headrace.testing import Answer, EventRecorder, FakeEndpoint, check_policy_contract
from headrace.testing.server import Behaviour, endpoint_process
from headrace_cache import Cache

pytestmark = pytest.mark.anyio

KEY = "sk-canary-7f3a"
PRICES = {"fake-model": {"input": "1", "output": "2"}}
MIB = 1024 * 1024


@attrs.define
class FakeClock:
    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "answers.sqlite")


@pytest.fixture
def cache(path: str) -> Callable[..., Cache]:
    """A function that makes caches on one file."""
    return lambda **settings: Cache(path=path, **settings)


async def test_policy_contract(tmp_path: Path) -> None:
    numbers = itertools.count()
    await check_policy_contract(lambda: Cache(path=str(tmp_path / f"{next(numbers)}.sqlite")))
    await check_policy_contract(Cache)


async def test_hit_is_the_same_reply_without_attempts_and_cost(
    cache: Callable[..., Cache],
) -> None:
    endpoint, recorder = FakeEndpoint(Answer("Guten Tag", headers={"x-request-id": "req-1"})), EventRecorder()
    async with endpoint.client([cache()], observers=[recorder]) as client:
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
    assert recorder.data("cache") == [{"hit": hit} for hit in (False, True, False)]


async def test_equal_files_are_hits_wherever_they_are(cache: Callable[..., Cache], tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.txt", "two.txt", "other.txt")]
    for file, text in zip(files, ("A hose", "A hose", "A rake"), strict=True):
        file.write_text(text)
    endpoint = FakeEndpoint()
    async with endpoint.client([cache()]) as client:
        replies = [
            await client.chat([{"role": "user", "content": [headrace.file(source, filename="a.txt")]}])
            for source in (files[0], files[1], b"A hose", files[2])
        ]
    assert [reply.attempts for reply in replies] == [1, 0, 0, 1]


async def test_entries_outlive_the_client(cache: Callable[..., Cache]) -> None:
    endpoint = FakeEndpoint("Guten Tag")
    for _ in range(2):
        async with endpoint.client([cache()]) as client:
            assert (await client.chat("Hallo")).text == "Guten Tag"
    assert len(endpoint.attempts) == 1


async def test_failures_are_not_cached(cache: Callable[..., Cache]) -> None:
    endpoint = FakeEndpoint(500, headrace.ConnectError("refused"), Answer(body={"error": {}}), "ok")
    async with endpoint.client([cache()]) as client:
        for _ in range(3):
            with pytest.raises(headrace.CallError):
                await client.chat("Hallo")
        assert (await client.chat("Hallo")).attempts == 1


@pytest.mark.parametrize(
    ("method", "request_path", "body"),
    [
        ("GET", "/models", None),
        ("POST", "/files", {}),
        ("POST", "/threads/1/messages", {"role": "user"}),
        ("DELETE", "/chat/completions", None),
        ("POST", "/responses", {"input": "Hallo", "background": True}),
        ("POST", "/responses", {"input": "Hallo", "conversation": "c"}),
    ],
)
async def test_requests_with_effects_are_always_sent(
    cache: Callable[..., Cache], method: str, request_path: str, body: dict[str, Any] | None
) -> None:
    endpoint, recorder = FakeEndpoint(), EventRecorder()
    async with endpoint.client([cache()], observers=[recorder]) as client:
        for _ in range(2):
            assert (await client.request(method, request_path, body)).attempts == 1
    assert recorder.events == []


@pytest.mark.parametrize(
    "request_path", ["/responses", "/embeddings", "/completions", "/v1/messages", "/x/embeddings?v=1"]
)
async def test_answers_of_other_paths_are_cached(cache: Callable[..., Cache], request_path: str) -> None:
    message = Answer(body={"type": "message", "content": [{"type": "text", "text": "Hi"}]})
    endpoint = FakeEndpoint(otherwise=message if request_path.endswith("/messages") else "ok")
    async with endpoint.client([cache()]) as client:
        attempts = [
            (await client.request("POST", request_path, {"input": "Hallo"})).attempts for _ in range(2)
        ]
    assert attempts == [1, 0]


async def test_streams_are_not_cached(cache: Callable[..., Cache]) -> None:
    endpoint = FakeEndpoint("Guten Tag")
    async with endpoint.client([cache()]) as client:
        for _ in range(2):
            async with client.stream("Hallo") as stream:
                assert [chunk.text async for chunk in stream]
            assert stream.reply.attempts == 1


async def test_url_key_and_headers_are_part_of_the_cache_key(path: str) -> None:
    endpoint = FakeEndpoint()
    body = {"messages": [{"role": "user", "content": "Hallo"}]}
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
            request = headrace.Request(body, headers=headers)
            async with client.map([request]) as outcomes:
                made += [outcome.attempts async for outcome in outcomes]
    assert made == [1, 1, 1, 1, 1, 0, 0]


async def test_file_contains_no_api_key(path: str, tmp_path: Path) -> None:
    client = FakeEndpoint().client([Cache(path=path)], api_key=KEY)
    async with client:
        await client.chat("Hallo")
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())  # noqa: ASYNC240
    assert b"chatcmpl-fake" in written
    assert KEY.encode() not in written
    assert b"Hallo" not in written, "it contains no question either"


async def test_typed_answers_are_cached_by_schema(cache: Callable[..., Cache]) -> None:
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
        assert (await client.chat("Who?", answer=Ghost)).attempts == 1, "another schema is another key"
        assert (await client.chat("Who?")).text == "untyped"


async def test_answer_that_is_no_longer_valid_is_requested_again(cache: Callable[..., Cache]) -> None:
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


async def test_hit_has_no_cost_and_no_tokens(
    cache: Callable[..., Cache],
) -> None:
    # If hits had a cost, the budget would cover fewer than four calls.
    Cost = pytest.importorskip("headrace_cost").Cost
    cost = Cost(prices=PRICES, budget=Decimal("0.00015"), assumed_output_tokens=5)
    async with FakeEndpoint().client([cache(), cost]) as client:
        replies = [await client.chat("Hallo") for _ in range(20)]
    assert [reply.cost for reply in replies] == [Decimal("0.00002"), *[Decimal(0)] * 19]
    totals = cost.totals
    assert (totals.calls, totals.prompt_tokens, totals.completion_tokens) == (20, 10, 5)
    assert (totals.cost, totals.unpriced) == (Decimal("0.00002"), 0)


async def test_max_age_applies_across_clients(path: str) -> None:
    clock, endpoint = FakeClock(), FakeEndpoint("old", "new")
    for seconds, text, attempts in ((0, "old", 1), (59, "old", 0), (2, "new", 1), (59, "new", 0)):
        clock.now += seconds
        async with endpoint.client([Cache(path=path, max_age=60, clock=clock)]) as client:
            reply = await client.chat("Hallo")
        assert (reply.text, reply.attempts) == (text, attempts)
    async with endpoint.client([Cache(path=path, clock=clock)]) as client:
        clock.now += 1e9
        assert (await client.chat("Hallo")).attempts == 0


async def test_least_recently_used_entries_are_evicted(path: str) -> None:
    clock, endpoint = FakeClock(), FakeEndpoint(otherwise="x" * 40_000)
    async with endpoint.client([Cache(path=path, max_bytes=MIB, clock=clock)]) as client:
        for number in range(60):
            clock.now += 1
            await client.chat(f"{number}")
            clock.now += 1
            assert (await client.chat("0")).attempts == 0, f"used all the time, but evicted after {number}"
        # 0 and 59 are cached, 1 was evicted.
        assert [(await client.chat(name)).attempts for name in ("59", "0", "1")] == [0, 0, 1]
    assert os.stat(path).st_size < 1.25 * MIB


async def test_very_large_replies_are_not_cached(path: str) -> None:
    endpoint = FakeEndpoint("small", "x" * (MIB // 16))
    async with endpoint.client([Cache(path=path, max_bytes=MIB)]) as client:
        attempts = [(await client.chat(name)).attempts for name in ("a", "b", "b", "a")]
    assert attempts == [1, 1, 1, 0]


async def test_sdk_replies_are_cached_with_their_content_type(path: str) -> None:
    pytest.importorskip("uvicorn")
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Hallo"}]}
    async with endpoint_process(Behaviour(seed=7)) as endpoint:
        replies = []
        async with async_client(policies=[Cache(path=path)]) as client:
            for retry in ("0", "1"):
                headers = {"x-stainless-retry-count": retry, "authorization": f"Bearer {KEY}"}
                answer = await client.post(
                    f"{endpoint.base_url}/chat/completions", json=body, headers=headers
                )
                replies.append((answer.status_code, answer.headers["content-type"], answer.json()))
            counts = await client.get(f"{endpoint.base_url.removesuffix('/v1')}/headrace/counts")
    assert replies[0] == replies[1]
    assert counts.json()["requests"] == 1, counts.json()


async def test_locked_file_fails_no_call(
    path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_cache.database.WRITE_TIMEOUT", 0.01)
    endpoint = FakeEndpoint()
    async with endpoint.client([Cache(path=path)]) as client:
        await client.chat("kept")
        # Another program has locked the file.
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with client.map([f"{number}" for number in range(20)]) as outcomes:
                assert [outcome.unwrap().text async for outcome in outcomes] == ["ok"] * 20
        assert (await client.chat("kept")).attempts == 1
    assert [record.getMessage() for record in caplog.records if record.name == "headrace.cache"] == [
        "the cache is disabled: database is locked; calls continue without it"
    ]


def count_used_late(path: str) -> int:
    """The number of entries last used at 2000."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        number: int = other.execute("SELECT count(*) FROM replies WHERE used = 2000.0").fetchone()[0]
        return number


async def test_hits_are_written_in_batches(path: str) -> None:
    clock, endpoint = FakeClock(1000.0), FakeEndpoint()
    async with endpoint.client([Cache(path=path, clock=clock)]) as client:
        for wanted in (1, 0):
            async with client.map([f"{number}" for number in range(700)]) as outcomes:
                assert {outcome.attempts async for outcome in outcomes} == {wanted}
            clock.now = 2000.0
        assert 500 <= count_used_late(path) < 700
    assert count_used_late(path) == 700, "the rest is written at the end"


def test_invalid_settings_are_rejected() -> None:
    with pytest.raises(headrace.SettingsError, match="max_age=0: must be a number of seconds above 0"):
        Cache(max_age=0)
    with pytest.raises(headrace.SettingsError, match="max_bytes=1000: must be at least 1048576"):
        Cache(max_bytes=1000)


def test_policy_is_active_only_with_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cache" not in [policy.name for policy in FakeEndpoint().client(None).policies]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("HEADRACE_POLICIES", "cache")
    with pytest.raises(headrace.SettingsError, match="path is not set; set it to a file"):
        FakeEndpoint().client(None)
    monkeypatch.setenv("HEADRACE_CACHE_PATH", path)
    (cache,) = FakeEndpoint().client(None).policies
    assert isinstance(cache, Cache)
    assert cache.path == path

    async def send(call: headrace.Call) -> headrace.Reply:
        raise NotImplementedError

    assert Cache().wrap(send) is send


async def test_loop_over_hits_lets_other_tasks_run(cache: Callable[..., Cache]) -> None:
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


async def test_file_is_closed_with_the_last_client_that_shares_it(path: str) -> None:
    cache, endpoint, (folder, name) = Cache(path=path), FakeEndpoint(), os.path.split(path)
    async with endpoint.client([cache]) as first:
        async with endpoint.client([cache]) as second:
            await second.chat("Hallo")
        assert (await first.chat("Hallo")).attempts == 0
        assert os.listdir(folder) != [name]
    assert os.listdir(folder) == [name], "the last one to close the file merges the log into it"
    async with endpoint.client([cache]) as again:
        assert (await again.chat("Hallo")).attempts == 0


async def test_call_outside_the_client_block_is_an_error(path: str) -> None:
    async def send(call: headrace.Call) -> headrace.Reply:
        raise AssertionError

    call = headrace.Call(
        headrace.Request({"model": "m", "messages": []}),
        headrace.Endpoint("http://fake.test/v1"),
        b"{}",
        headrace.Timeout(),
        0.0,
    )
    with pytest.raises(headrace.ClientStateError, match="inside the block of its client"):
        await Cache(path=path).wrap(send)(call)
