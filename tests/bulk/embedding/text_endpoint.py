"""An endpoint in memory that embeds texts: a vector begins with the length of its text."""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import msgspec

from headrace import Call, CallError, Client, Headers, Reply, Send, Stage, StatusError
from headrace.transports.memory import MemoryTransport


@attrs.define
class TextEndpoint:
    """Answers batches of texts, with the vectors in any order.

    Args:
        bad: Which texts it rejects, with the whole batch.
        most_texts: The most texts in a request.
        base64: Whether it knows vectors in base64.
        status: The status of a rejection.
        error: The error of all requests; None without one.
        length: The length of the vector of a text.

    Attributes:
        batches: The texts of each request.
        accepted: The texts of each answered request.
        tokens: The tokens of all answers.
    """

    bad: Callable[[str], bool] = lambda text: False
    most_texts: int = 2048
    base64: bool = True
    status: int = 400
    error: dict[str, Any] | None = None
    length: Callable[[str], int] = lambda text: 2
    batches: list[list[str]] = attrs.field(factory=list)
    accepted: list[list[str]] = attrs.field(factory=list)
    tokens: int = 0

    def client(self, **keywords: Any) -> Client:
        keywords = {"base_url": "http://fake.test/v1", "model": "e", "policies": []} | keywords
        return Client(transport=MemoryTransport(self.handle), **keywords)

    async def handle(self, call: Call) -> Reply:
        body = call.request.body or {}
        texts = body["input"]
        self.batches.append(texts)
        if self.error is not None:
            raise _status_error(self.status, self.error)
        if any(map(self.bad, texts)):
            raise _status_error(self.status, {"message": "'$.input' is invalid", "param": None, "code": None})
        if len(texts) > self.most_texts:
            raise _status_error(self.status, {"message": f"at most {self.most_texts} texts"})
        encoded = body.get("encoding_format") == "base64"
        if encoded and not self.base64:
            raise _status_error(400, {"message": "not supported", "param": "encoding_format"})
        data = []
        for index, text in enumerate(texts):
            vector = [float(len(text)), *range(1, self.length(text))]
            packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            data.append({"index": index, "embedding": packed if encoded else vector})
        random.Random(len(self.batches)).shuffle(data)
        self.accepted.append(texts)
        tokens = 7 + sum(map(len, texts))
        self.tokens += tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        body = {"object": "list", "data": data, "model": "e-1", "usage": usage}
        return Reply(200, Headers([]), msgspec.json.encode(body))


def _status_error(status: int, error: dict[str, Any]) -> StatusError:
    content = msgspec.json.encode({"error": error})
    return StatusError(
        error["message"], status, Headers([]), content, error.get("code"), param=error.get("param")
    )


class Priced:
    """A policy that sets the cost of each call, also of a failed one."""

    name = "cost"
    stage = Stage.ACCOUNT

    def __init__(self, cost: str) -> None:
        self.cost = Decimal(cost)

    def wrap(self, send: Send) -> Send:
        async def priced(call: Call) -> Reply:
            try:
                reply = await send(call)
            except CallError as error:
                error.cost, error.possible_cost = self.cost, 2 * self.cost
                raise
            reply.cost = self.cost
            return reply

        return priced
