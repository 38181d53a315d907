"""Which answers are cached, and to which endpoint they belong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace import Endpoint, Request
from headrace.bulk import run
from headrace.replies import Headers, Reply
from headrace.testing import Answer, FakeEndpoint
from headrace_cache import Cache
from headrace_cache.completeness import has_answer, is_complete

pytestmark = pytest.mark.anyio

BODY = {"messages": [{"role": "user", "content": "Hallo"}]}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "answers.sqlite")


def choice(reason: Any, **message: Any) -> dict[str, Any]:
    return {
        "index": 0,
        "message": {"role": "assistant", "content": "ok"} | message,
        "finish_reason": reason,
    }


def response(status: str, reason: str | None = None, kind: str = "output_text") -> dict[str, Any]:
    part = {"type": kind, "text": "ok", "refusal": "no"}
    return {
        "object": "response",
        "status": status,
        "incomplete_details": None if reason is None else {"reason": reason},
        "output": [{"type": "message", "content": [part]}],
    }


@pytest.mark.parametrize(
    ("request_path", "body", "is_cached"),
    [
        ("/chat/completions", {"choices": [choice("stop")]}, True),
        ("/chat/completions", {"choices": [choice(None)]}, True),
        ("/chat/completions", {"choices": [choice("eos_token")]}, True),
        ("/chat/completions", {"choices": [choice("length")]}, True),
        ("/chat/completions", {"choices": [choice("tool_calls", tool_calls=[])]}, True),
        ("/chat/completions", {"choices": [choice("stop", content='"finish_reason":"error"')]}, True),
        ("/chat/completions", {"choices": [choice("content_filter")]}, False),
        ("/chat/completions", {"choices": [choice("SAFETY")]}, False),
        ("/chat/completions", {"choices": [choice("sensitive")]}, False),
        ("/chat/completions", {"choices": [choice("insufficient_system_resource")]}, False),
        ("/chat/completions", {"choices": [choice("stop"), choice("content_filter")]}, False),
        ("/chat/completions", {"choices": [choice("stop", refusal="I cannot.")]}, False),
        ("/responses", response("completed"), True),
        ("/responses", response("incomplete", "max_output_tokens"), True),
        ("/responses", response("incomplete", "content_filter"), False),
        ("/responses", response("failed"), False),
        ("/responses", response("completed", kind="refusal"), False),
        ("/messages", {"type": "message", "content": [], "stop_reason": "end_turn"}, True),
        ("/messages", {"type": "message", "content": [], "stop_reason": "max_tokens"}, True),
        ("/messages", {"type": "message", "content": [], "stop_reason": "refusal"}, False),
        ("/embeddings", {"data": [{"index": 0, "embedding": [1.0]}], "model": "content_filter"}, True),
    ],
)
async def test_complete_answers_are_cached(
    path: str, request_path: str, body: dict[str, Any], is_cached: bool
) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(body=body))
    async with endpoint.client([Cache(path=path)]) as client:
        for _ in range(2):
            await client.request("POST", request_path, {"input": "Hallo"})
    assert len(endpoint.attempts) == 2 - is_cached


@pytest.mark.parametrize(
    "body",
    [{}, {"choices": []}, {"choices": None}, [1], "busy", {"detail": "no"}, b"", b"<html>", b"upstream"],
)
async def test_replies_without_an_answer_are_not_cached(path: str, body: Any) -> None:
    endpoint = FakeEndpoint(Answer(body=json.dumps(body).encode() if isinstance(body, list | str) else body))
    async with endpoint.client([Cache(path=path)]) as client:
        with pytest.raises(headrace.InvalidReply):
            await client.chat("Hallo")
        assert (await client.chat("Hallo")).attempts == 1
    assert len(endpoint.attempts) == 2


@pytest.mark.parametrize(
    ("request_path", "body", "is_cached"),
    [
        ("/v1/chat/completions", {"choices": [choice("stop")]}, True),
        ("/v1/chat/completions", {"choices": []}, False),
        ("/v1/chat/completions", {"detail": "busy"}, False),
        ("/v1/chat/completions", "busy", False),
        ("/v1/responses", response("completed"), True),
        ("/v1/responses", {}, False),
        ("/v1/embeddings", {"data": []}, False),
        ("/v1/messages", {"type": "message", "content": [], "stop_reason": "end_turn"}, True),
        ("/v1/messages", {"detail": "busy"}, False),
    ],
)
async def test_answers_to_sdk_paths_are_checked(
    path: str, request_path: str, body: Any, is_cached: bool
) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(body=json.dumps(body).encode()))
    async with endpoint.client([Cache(path=path)]) as client:
        for _ in range(2):
            await client.request("POST", request_path, {"input": "Hallo"})
    assert len(endpoint.attempts) == 2 - is_cached


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"path": "/deployments/{model}{path}"}),
        ({"path": "/deployments/a/{path}"}, {"path": "/deployments/b/{path}"}),
        ({"query": {"api-version": "1"}}, {"query": {"api-version": "2"}}),
        ({"models": {"m": "deployment-1"}}, {"models": {"m": "deployment-2"}}),
        ({"models": ["m"]}, {"models": {"m": "other"}}),
        ({"api_key": "k1"}, {"api_key": "k2"}),
        ({"api_key": "k1"}, {"api_key": "k1", "key_header": "api-key"}),
        ({"headers": {"openai-project": "p"}}, {"headers": {"openai-project": "q"}}),
    ],
)
async def test_answers_belong_to_one_deployment(
    path: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    made = []
    for settings in (first, second, first):
        endpoints = [Endpoint("http://a.test/v1", name="a", **settings)]
        fake = FakeEndpoint()
        async with fake.client([Cache(path=path)], base_url=None, endpoints=endpoints, model="m") as client:
            made.append((await client.chat("Hallo")).attempts)
    assert made == [1, 1, 0]


async def test_fresh_request_replaces_the_cached_answer(path: str) -> None:
    endpoint = FakeEndpoint("old", "new")
    async with endpoint.client([Cache(path=path)]) as client:

        async def text(*, fresh: bool) -> str:
            async with client.map([Request(BODY, fresh=fresh)]) as outcomes:
                (reply,) = [outcome.unwrap() async for outcome in outcomes]
            return reply.text

        assert [await text(fresh=fresh) for fresh in (False, False, True, False)] == [
            "old",
            "old",
            "new",
            "new",
        ]
    assert len(endpoint.attempts) == 2


async def test_concurrent_fresh_requests_are_all_made(path: str) -> None:
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.001))
    async with endpoint.client([Cache(path=path)]) as client:
        with anyio.fail_after(5):
            async with client.map([Request(BODY, fresh=True)] * 5) as outcomes:
                assert all([outcome.ok async for outcome in outcomes])
    assert len(endpoint.attempts) == 5


async def test_failed_item_of_a_run_is_sent_again(path: str, tmp_path: Path) -> None:
    source = tmp_path / "products.csv"
    source.write_text("id,name\n1,hose\n2,spade\n")
    endpoint = FakeEndpoint("garden", "neither", "neither again", "house")
    async with endpoint.client([Cache(path=path)], max_in_flight=1) as client:

        async def classify(out: str, *, retry_failed: bool = False) -> tuple[int, int]:
            summary = await run(
                client,
                source,
                out=tmp_path / out,
                prompt="{name}?",
                choices=["garden", "house"],
                retry_failed=retry_failed,
            )
            return summary.succeeded, summary.failed

        assert await classify("out.jsonl") == (1, 1)
        assert await classify("other.jsonl") == (1, 1)
        assert len(endpoint.attempts) == 2, "another output gets both answers from the cache"
        assert await classify("out.jsonl", retry_failed=True) == (0, 1)
        assert await classify("out.jsonl", retry_failed=True) == (1, 0)
        assert len(endpoint.attempts) == 4
        assert await classify("third.jsonl") == (2, 0), "the right answer is cached"
    assert len(endpoint.attempts) == 4


NAMES = st.sampled_from(
    "choices message finish_reason refusal stop_reason output content type incomplete_details reason status "
    "data x".split()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "refusal", "failed", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
PATHS = st.sampled_from(["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"])


@given(body=JSON, path=PATHS)
def test_no_reply_raises_an_error(body: Any, path: str) -> None:
    reply = Reply(200, Headers([]), msgspec.json.encode(body))
    assert has_answer(path, reply) in {True, False}
    assert is_complete(reply) in {True, False}
