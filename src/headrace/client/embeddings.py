"""Embeds many texts: splits them into batches, sends these at the same time, and joins the vectors."""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import attrs

from headrace._support.numbers import as_number
from headrace._support.task_groups import task_group
from headrace.calls import Request
from headrace.errors import HeadraceError, InvalidReply, RequestError
from headrace.replies import Reply, Usage
from headrace.wire.embeddings import parse_vectors
from headrace.wire.error_redaction import redact_error

MAX_TEXTS = 2048
"""Maximum number of texts in one request, from OpenAI's reference of POST /embeddings."""

MAX_BYTES = 300_000
"""Maximum bytes of text in one request. OpenAI takes 300,000 tokens, and a token has at least one byte."""


@attrs.frozen
class Embeddings:
    """The vectors of texts, in the order of the texts.

    Attributes:
        vectors: An ``array('f')`` for each text, with 4 bytes per number; ``numpy.array(vectors)`` makes a
            matrix of them.
        usage: Token counts of all batches; None if one is unknown.
        cost: USD for all batches; None if one is unknown.
        model: The model that the endpoint names; None if it names none or nothing was sent.
        attempts: The number of attempts for all batches.
    """

    vectors: list[array[float]] = attrs.field(repr=False)
    usage: Usage | None
    cost: Decimal | None
    model: str | None
    attempts: int


def embeddings_body(dimensions: int | None) -> dict[str, Any]:
    """The body of all batches, without the texts; raises `RequestError` for ``dimensions`` below 1."""
    body: dict[str, Any] = {"encoding_format": "base64"}
    if dimensions is not None:
        body["dimensions"] = _count("dimensions", dimensions, "numbers in a vector")
    return body


def in_batches(texts: Iterable[str], batch_size: int | None) -> list[list[str]]:
    """Split texts into batches of at most ``batch_size`` (default `MAX_TEXTS`) texts and `MAX_BYTES` bytes.

    A longer text gets its own batch; the endpoint decides whether it is too long. Raises `RequestError` for
    texts that cannot be embedded.
    """
    batch_size = MAX_TEXTS if batch_size is None else _count("batch_size", batch_size, "texts in a request")
    if isinstance(texts, (str, bytes)):
        raise RequestError("embed takes a list of texts, not one text; write client.embed([text])")
    if isinstance(texts, Mapping) or not isinstance(texts, Iterable):
        raise RequestError(f"embed takes a list of texts, not {type(texts).__name__}; write list(…)")
    batches: list[list[str]] = []
    size = 0
    for index, text in enumerate(texts):
        length = _length(index, text)
        size += length
        if not batches or len(batches[-1]) == batch_size or size > MAX_BYTES:
            batches.append([])
            size = length
        batches[-1].append(str(text))  # from NumPy's subclass, which the encoder rejects
    return batches


async def embed(
    send: Callable[[Request], Awaitable[Reply]],
    template: Request,
    batches: Sequence[list[str]],
    workers: float,
) -> Embeddings:
    """Send ``template`` with each batch, ``workers`` at a time; the first error cancels the others."""
    parts: dict[int, Embeddings] = {}
    failures: list[HeadraceError] = []
    remaining = iter(enumerate(batches))

    async def work() -> None:
        try:
            for number, texts in remaining:
                # Made here, so that only batches in flight are held a second time, as JSON.
                request = attrs.evolve(template, body={**(template.body or {}), "input": texts})
                parts[number] = _part(request, await send(request), len(texts))
        except HeadraceError as error:
            # Not raised here: a task group would raise all errors of batches that fail at the same moment.
            failures.append(error)
            group.cancel_scope.cancel()

    async with task_group() as group:
        for _ in range(max(1, int(min(workers, len(batches))))):
            group.start_soon(work)
    if failures:
        raise failures[0]
    return _joined([parts[number] for number in range(len(batches))])


def _count(name: str, value: object, of: str) -> int:
    number = as_number(value)
    if not isinstance(number, int) or number < 1:
        raise RequestError(f"{name}={value!r}: must be a number of {of}, at least 1")
    return number


def _length(index: int, text: object) -> int:
    """The length of a text in bytes of UTF-8; raises `RequestError` for a text that cannot be embedded."""
    if not isinstance(text, str):
        raise RequestError(f"texts[{index}] is of type {type(text).__name__}; embed takes texts (str) only")
    if not text:
        raise RequestError(f"texts[{index}] is empty, and endpoints embed no empty text; leave it out")
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise RequestError(
            f"texts[{index}] is not valid Unicode: a lone surrogate at {error.start}; "
            "read it with errors='replace'"
        ) from None


def _part(request: Request, reply: Reply, count: int) -> Embeddings:
    """The embeddings of one batch; raises `InvalidReply` if it does not have one vector for each text."""
    try:
        vectors = parse_vectors(reply, count)
        check_lengths(vectors, (request.body or {}).get("dimensions"))
    except InvalidReply as failure:
        failure.request, failure.attempts = request, reply.attempts
        if reply._endpoint is not None:
            redact_error(failure, reply._endpoint)
        raise
    return Embeddings(vectors, reply.usage, reply.cost, reply.model, reply.attempts)


def check_lengths(vectors: Sequence[array[float]], wanted: object) -> None:
    """Raise `InvalidReply` for vectors of different lengths, or of another length than requested."""
    lengths = {len(vector) for vector in vectors}
    if isinstance(wanted, int) and lengths - {wanted}:
        found = f"dimensions={wanted} was requested, but the vectors have {_listed(lengths)} numbers; "
        failure = InvalidReply(f"{found}the model cannot shorten them, so omit dimensions=")
    elif len(lengths) > 1:
        failure = InvalidReply(f"the vectors differ in length: {_listed(lengths)} numbers")
    else:
        return
    failure.retryable = False
    raise failure


def _listed(lengths: set[int]) -> str:
    shortest = sorted(lengths)[:5]
    return ", ".join(map(str, shortest)) + (", …" if len(lengths) > 5 else "")


def _joined(parts: Sequence[Embeddings]) -> Embeddings:
    vectors = [vector for part in parts for vector in part.vectors]
    check_lengths(vectors, None)  # batches may come from different models
    usages = [part.usage for part in parts if part.usage is not None]
    costs = [part.cost for part in parts if part.cost is not None]
    return Embeddings(
        vectors=vectors,
        usage=sum(usages, Usage()) if len(usages) == len(parts) else None,
        cost=sum(costs, Decimal()) if len(costs) == len(parts) else None,
        model=parts[0].model if parts else None,
        attempts=sum(part.attempts for part in parts),
    )
