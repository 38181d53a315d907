"""An endpoint in memory that answers as it is told, and remembers what it was asked."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import anyio
import attrs
import msgspec

from headrace.calls import Call, Request
from headrace.client import Client
from headrace.endpoint import EMPTY
from headrace.policies import Policy
from headrace.replies import Headers, Reply
from headrace.testing.server.plan import Plan, with_quirks
from headrace.testing.server.quirks import quirks_of
from headrace.testing.shapes import answer_to
from headrace.transports.memory import MemoryTransport


@attrs.frozen
class Answer:
    """One answer of a `FakeEndpoint`.

    ``text`` is the model's, streamed word by word where the call asks for it; ``body`` (a mapping, or bytes
    as they go over the wire) replaces the whole body. ``delay`` is in seconds, on anyio's clock. Token
    counts are as given, not counted.
    """

    text: str = "ok"
    status: int = 200
    headers: Mapping[str, str] = EMPTY
    body: Mapping[str, Any] | bytes | None = None
    delay: float = 0.0
    prompt_tokens: int = 10
    completion_tokens: int = 5
    cached_tokens: int = 0

    def content(self, model: str | None, request: Request | None = None) -> bytes:
        """The body as bytes, as the path of ``request`` has it; by default a chat completion."""
        if isinstance(self.body, bytes):
            return self.body
        if self.body is not None:
            return msgspec.json.encode(self.body)
        if self.status >= 300:
            error = {"message": f"injected {self.status}", "type": "injected", "param": None, "code": None}
            return msgspec.json.encode({"error": error})
        usage = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }
        return msgspec.json.encode(answer_to(request, model or "fake-model", self.text, usage))

    def events(self, model: str | None) -> bytes:
        """The same as server-sent events, a word an event, for a call that is streamed."""
        if isinstance(self.body, bytes):
            return self.body
        whole = msgspec.json.decode(self.content(model))
        head = {name: whole.get(name) for name in ("id", "created", "model")}
        head["object"] = "chat.completion.chunk"
        chunks = [
            head | {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
            for word in re.findall(r"\s*\S+\s*$|\s*\S+", self.text)
        ]
        chunks.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        chunks.append(head | {"choices": [], "usage": whole.get("usage")})
        said = [b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in chunks]
        return b"".join([*said, b"data: [DONE]\n\n"])


Step: TypeAlias = str | int | Answer | Exception


class FakeEndpoint:
    """An endpoint in memory, for tests without sockets, in real or virtual time.

    Each attempt takes the next of ``steps``: a text (answered with 200), a status, an `Answer`, or an
    exception to raise as the transport would. When they are used up, ``otherwise`` is answered for ever.
    ``quirks`` are names of odd but real ways to answer a chat, as `headrace serve --quirks` has them.
    ``attempts`` are the requests seen, one for each attempt, in order; ``in_flight`` and ``most_in_flight``
    count attempts under way.
    """

    def __init__(self, *steps: Step, otherwise: Step = "ok", quirks: Iterable[str] = ()) -> None:
        self._quirks = quirks_of(quirks)
        self._steps = deque(steps)
        self._otherwise = otherwise
        self.attempts: list[Request] = []
        self.times: list[float] = []
        self.in_flight = 0
        self.most_in_flight = 0

    def then(self, *steps: Step) -> None:
        """Append steps."""
        self._steps.extend(steps)

    def client(self, policies: Iterable[Policy] | None = (), **keywords: Any) -> Client:
        """A client whose transport is this endpoint; with no policies unless they are named."""
        keywords = {"base_url": "http://fake.test/v1", "model": "fake-model"} | keywords
        return Client(transport=MemoryTransport(self.handle), policies=policies, **keywords)

    async def handle(self, call: Call) -> Reply:
        """Answer one attempt; what `MemoryTransport` calls."""
        self.attempts.append(call.request)
        self.times.append(anyio.current_time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(self._steps.popleft() if self._steps else self._otherwise, call)
        finally:
            self.in_flight -= 1

    async def _answer(self, step: Step, call: Call) -> Reply:
        if isinstance(step, Exception):
            raise step
        if isinstance(step, str):
            step = Answer(step)
        elif isinstance(step, int):
            step = Answer(status=step)
        if step.delay:
            await anyio.sleep(step.delay)
        streamed = call.streamed and step.status < 300
        kind = "text/event-stream" if streamed else "application/json"
        headers = {"content-type": kind} | dict(step.headers)
        model = call.request.model
        content = step.events(model) if streamed else step.content(model, call.request)
        if self._quirks and step.status < 300 and not isinstance(step.body, bytes):
            return self._odd(content, call, headers)
        return _reply(step.status, headers, content)

    def _odd(self, content: bytes, call: Call, headers: Mapping[str, str]) -> Reply:
        """The answer with the quirks."""
        events = tuple(content.splitlines(keepends=True)[::2]) if call.streamed else ()
        whole = b"" if events else content
        plan = Plan(headers=headers, content=whole, events=tuple(event + b"\n" for event in events))
        odd = with_quirks(self._quirks, plan, call.content)
        return _reply(odd.status, odd.headers, b"".join(odd.events) or odd.content)


def _reply(status: int, headers: Mapping[str, str], content: bytes) -> Reply:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Reply(status, Headers(raw), content)
