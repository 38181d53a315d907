"""Batches that the endpoint rejects are sent again in parts, until only the texts fail that are the cause."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bulk.embedding.test_embedding_runs import ROWS, embed
from tests.bulk.embedding.text_endpoint import Priced, TextEndpoint

from headrace.bulk import Journal
from headrace.bulk.embedding.batch import Batch
from headrace.bulk.embedding.rejections import concerns_some_texts
from headrace.bulk.embedding.shares import cost_shares, integer_shares
from headrace.errors import (
    AuthenticationError,
    ConnectError,
    HeadraceError,
    InvalidReply,
    RateLimited,
    ReplyTooLarge,
    ServerError,
    StatusError,
)


async def as_async(rows: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    for row in rows:
        yield row


@given(
    bad=st.lists(st.booleans(), min_size=1, max_size=40),
    batch_size=st.integers(1, 40),
    most_texts=st.integers(1, 40),
)
def test_only_the_bad_texts_fail_and_each_other_one_gets_its_own_vector(
    bad: list[bool], batch_size: int, most_texts: int
) -> None:
    rows = [
        {"id": str(n), "text": ("bad " if is_bad else "") + "x" * (n + 1)} for n, is_bad in enumerate(bad)
    ]
    endpoint = TextEndpoint(bad=lambda text: text.startswith("bad"), most_texts=most_texts)
    result = anyio.run(lambda: embed(rows, endpoint, batch_size=batch_size))
    assert [line.error is not None for line in result] == bad
    vectors = [None if line.vector is None else line.vector[0] for line in result]
    assert vectors == [None if is_bad else n + 1 for n, is_bad in enumerate(bad)]
    assert result.prompt_tokens == endpoint.tokens
    assert len(endpoint.batches) < 2 * len(rows)
    accepted = sorted(text for batch in endpoint.accepted for text in batch)
    assert accepted == sorted(row["text"] for row, is_bad in zip(rows, bad, strict=True) if not is_bad)


@pytest.mark.anyio
async def test_one_bad_text_of_many_costs_few_calls() -> None:
    rows = [{"id": str(n), "text": "x" * (n + 1)} for n in range(256)]
    endpoint = TextEndpoint(bad=lambda text: len(text) == 256)
    result = await embed(rows, endpoint)
    assert (result.succeeded, result.failed, len(endpoint.batches)) == (255, 1, 17)
    assert (result.failure_groups[0].status, result.failure_groups[0].message) == (
        400,
        "'$.input' is invalid",
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    "endpoint", [{"bad": lambda text: text == "xx"}, {"base64": False}], ids=["bad", "base64"]
)
async def test_each_call_of_a_rejected_batch_is_paid_for_once(
    endpoint: dict[str, Any], tmp_path: Path
) -> None:
    texts, out = TextEndpoint(**endpoint), tmp_path / "o.jsonl"
    client = {"policies": [Priced("0.01")], "max_in_flight": 1}
    result = await embed(ROWS, texts, batch_size=4, client=client, out=out)
    calls, rejected = len(texts.batches), len(texts.batches) - len(texts.accepted)
    assert (result.cost, result.possible_cost) == (calls * Decimal("0.01"), rejected * Decimal("0.02"))
    with Journal(out, {"task": "embed"}, keep_done=True) as journal:
        assert journal.spent == calls * Decimal("0.01") + rejected * Decimal("0.02")


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [False, True])
async def test_later_batches_have_the_size_that_the_endpoint_accepts(is_async: bool) -> None:
    listed = [{"id": str(n), "text": "x"} for n in range(320)]
    rows: Any = as_async(listed) if is_async else listed
    endpoint = TextEndpoint(most_texts=32)
    result = await embed(rows, endpoint, batch_size=128, client={"max_in_flight": 1})
    assert (result.succeeded, result.failed) == (320, 0)
    assert sum(len(batch) > 32 for batch in endpoint.batches) == 3
    assert max(map(len, endpoint.batches[7:])) == 32


def status(number: int, **error: Any) -> StatusError:
    body = msgspec.json.encode({"error": {"message": "no", **error}})
    return StatusError("no", number, None, body, error.get("code"), param=error.get("param"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (status(400), True),
        (status(400, code="context_length_exceeded"), True),
        (status(400, param="input"), True),
        (status(413), True),
        (status(422), True),
        (status(400, param="dimensions"), False),
        (status(404), False),
        (ReplyTooLarge("large"), True),
        (ServerError("no", 500, None, b'{"error": {"message": "input is too large to process"}}'), True),
        (ServerError("no", 500, None, b'{"error": {"message": "crashed"}}'), False),
        (AuthenticationError("no", 401), False),
        (RateLimited("slow", 429, retryable=True), False),
        (ConnectError("down"), False),
        (InvalidReply("few"), False),
    ],
    ids=str,
)
def test_errors_that_a_smaller_batch_may_not_get(error: HeadraceError, expected: bool) -> None:
    assert concerns_some_texts(error) is expected


whole_numbers, weights = st.integers(0, 10**9), st.lists(st.integers(1, 10**6), min_size=1, max_size=50)


@given(whole_numbers, weights)
def test_shares_add_up_and_are_in_proportion(whole: int, sizes: list[int]) -> None:
    shares = integer_shares(whole, sizes)
    assert sum(shares) == whole
    assert all(
        abs(share * sum(sizes) - whole * size) < sum(sizes) for share, size in zip(shares, sizes, strict=True)
    )


@given(
    st.decimals(0, 1000, places=12) | st.sampled_from([Decimal("0E-30"), Decimal("1E-24"), Decimal(5)]),
    weights,
)
def test_shares_of_a_cost_add_up(cost: Decimal, sizes: list[int]) -> None:
    shares = cost_shares(cost, sizes)
    assert sum(share for share in shares if share is not None) == cost
    assert cost_shares(None, sizes) == [None] * len(sizes)


def test_a_rejected_batch_that_cost_something_passes_it_on_once() -> None:
    error = ReplyTooLarge("large")
    error.cost = Decimal("0.5")
    whole = Batch([], cost=Decimal("0.25"))
    shorter, longer = whole.halves(error)
    assert (shorter.cost, longer.cost, shorter.possible_cost) == (Decimal("0.75"), None, None)
