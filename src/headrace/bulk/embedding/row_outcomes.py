"""Splits the outcome of a batch into an outcome for each of its rows, as if it had been sent alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence, Set
from decimal import Decimal
from typing import Any

import attrs
import msgspec

from headrace.bulk.embedding.batch import Batch, size_of
from headrace.bulk.embedding.shares import cost_shares, integer_shares
from headrace.bulk.item_result import ItemResult, item_result
from headrace.bulk.line_encoding import cost_of
from headrace.calls import Outcome
from headrace.client.embeddings import check_lengths
from headrace.errors import CallCancelled, CallError, HeadraceError, InvalidReply, SettingsError
from headrace.replies import Reply, Usage
from headrace.wire.embeddings import Vector, encode_vector, parse_vectors
from headrace.wire.request_bodies import encode_json


def row_results(batch: Batch, outcome: Outcome, cancelled: Set[int] = frozenset()) -> list[ItemResult]:
    """The result of each row of a batch, in the order of its items.

    Each row has its share of tokens and cost, and the attempts and seconds of the whole batch. The retries
    of the batch count once, with the first row. The vectors of rows that were cancelled are dropped, but not
    their cost; ``cancelled`` are their indexes.
    """
    results: list[ItemResult] = []
    for item, each in zip(batch.items, _row_outcomes(batch, outcome), strict=True):
        found = _without_vector(each) if item.index in cancelled else each
        result = item_result(item.index, item.id, found, (), frozenset(), item.digest)
        result.number = item.number
        if results:
            result.attempts = min(result.attempts, 1)
        results.append(result)
    return results


def _without_vector(outcome: Outcome) -> Outcome:
    error = CallCancelled("cancelled while it was in flight")
    error.cost, error.possible_cost = cost_of(outcome)
    return msgspec.structs.replace(outcome, reply=None, error=error)


def read_vectors(batch: Batch, reply: Reply) -> list[Vector]:
    """The vectors of a batch, in the order of its items.

    Raises:
        InvalidReply: There is not one vector for each text, or they differ in length.
        SettingsError: The vectors have another length than was requested, so no batch can succeed.
    """
    vectors = parse_vectors(reply, len(batch.items))
    check_lengths(vectors, None)
    wanted, found = (batch.items[0].own_request.body or {}).get("dimensions"), len(vectors[0])
    if isinstance(wanted, int) and found != wanted:
        raise SettingsError(
            f"dimensions={wanted}: the vectors have {found} numbers; this model cannot shorten them, so "
            "leave it out"
        )
    return vectors


def _row_outcomes(batch: Batch, outcome: Outcome) -> list[Outcome]:
    weights = [size_of(item) for item in batch.items]
    reply, error = outcome.reply, outcome.error
    vectors: Sequence[Vector] = ()
    if reply is not None:
        try:
            vectors = read_vectors(batch, reply)
        except (InvalidReply, SettingsError) as failure:
            error = failure
    cost, possible_cost = batch.add_cost(error if reply is None else reply)
    costs, possible = cost_shares(cost, weights), cost_shares(possible_cost, weights)
    if reply is None or error is not None:
        assert error is not None
        return [
            msgspec.structs.replace(outcome, reply=None, error=_with_cost(error, *spent))
            for spent in zip(costs, possible, strict=True)
        ]
    usages = _usages(reply.usage, weights)
    return [
        msgspec.structs.replace(outcome, reply=_row_reply(reply, vector, usage, *spent))
        for vector, usage, *spent in zip(vectors, usages, costs, possible, strict=True)
    ]


def _with_cost(error: HeadraceError, cost: Decimal | None, possible: Decimal | None) -> HeadraceError:
    """The error for one row. Only a call that failed can have cost something."""
    if (cost is None and possible is None) or not isinstance(error, CallError):
        return error
    own = copy.copy(error)
    own.cost, own.possible_cost = cost, possible
    return own


def _usages(usage: Usage | None, weights: Sequence[int]) -> Sequence[Usage | None]:
    if usage is None:
        return [None] * len(weights)
    prompt, total = (
        [None] * len(weights) if whole is None else integer_shares(whole, weights)
        for whole in (usage.prompt_tokens, usage.total_tokens)
    )
    return [Usage(prompt_tokens=one, total_tokens=other) for one, other in zip(prompt, total, strict=True)]


def _row_reply(
    reply: Reply, vector: Vector, usage: Usage | None, cost: Decimal | None, possible: Decimal | None
) -> Reply:
    body: dict[str, Any] = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": encode_vector(vector)}],
        "model": reply.model,
    }
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens}
    return attrs.evolve(reply, content=encode_json(body), usage=usage, cost=cost, possible_cost=possible)
