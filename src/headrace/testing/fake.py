"""An endpoint in memory: tests set its answers, and it records the requests."""

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
from headrace.testing.server.quirks import find_quirks
from headrace.testing.server.response_plan import ResponsePlan, apply_quirks
from headrace.testing.shapes import answer_to
from headrace.transports.memory import MemoryTransport


@attrs.frozen
class Answer:
    """One answer of a `FakeEndpoint`.

    Args:
        text: The text of the model; a streamed call gets it word by word.
        status: The HTTP status.
        headers: Headers of the answer.
        body: The whole body, as a mapping or as the bytes that are sent. None: made from ``text``.
        delay: Seconds until the answer, on the clock of the event loop.
        prompt_tokens: Reported number of tokens of the prompt; nothing is counted.
        completion_tokens: Reported number of tokens of the answer.
        cached_tokens: Reported number of cached tokens, a part of ``prompt_tokens``.
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
        """The body as bytes, for the path of ``request``; by default a chat completion."""
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
        """The answer as server-sent events for a streamed call, one word per event."""
        if isinstance(self.body, bytes):
            return self.body
        completion = msgspec.json.decode(self.content(model))
        head = {name: completion.get(name) for name in ("id", "created", "model")}
        head["object"] = "chat.completion.chunk"
        chunks = [
            head | {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
            for word in re.findall(r"\s*\S+\s*$|\s*\S+", self.text)
        ]
        chunks.append(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        chunks.append(head | {"choices": [], "usage": completion.get("usage")})
        events = [b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in chunks]
        return b"".join([*events, b"data: [DONE]\n\n"])


Step: TypeAlias = str | int | Answer | Exception


class FakeEndpoint:
    """An endpoint in memory, for tests without sockets, in real or virtual time.

    Args:
        steps: Each attempt takes the next one: a text (status 200), a status, an `Answer`, or an exception
            that the transport raises.
        otherwise: The step for all attempts after ``steps`` are used up.
        quirks: Names of unusual answers that real endpoints give, as in ``headrace serve --quirks``.

    Attributes:
        attempts: The requests in order, one for each attempt.
        times: When each attempt began, on the clock of the event loop.
        in_flight: Attempts in flight now.
        most_in_flight: The highest number of attempts in flight so far.

    Example:
        ```python
        endpoint = FakeEndpoint(503, "Hello")
        async with endpoint.client([Retry()]) as client:
            assert (await client.chat("Hi")).text == "Hello"
        ```
    """

    def __init__(self, *steps: Step, otherwise: Step = "ok", quirks: Iterable[str] = ()) -> None:
        self._quirks = find_quirks(quirks)
        self._steps = deque(steps)
        self._otherwise = otherwise
        self.attempts: list[Request] = []
        self.times: list[float] = []
        self.in_flight: int = 0
        self.most_in_flight: int = 0

    def then(self, *steps: Step) -> None:
        """Append steps."""
        self._steps.extend(steps)

    def client(self, policies: Iterable[Policy] | None = (), **keywords: Any) -> Client:
        """A client whose transport is this endpoint.

        Args:
            policies: Its policies; by default none. None: those of the installed plugins.
            **keywords: As for `headrace.Client`.
        """
        keywords = {"base_url": "http://fake.test/v1", "model": "fake-model"} | keywords
        return Client(transport=MemoryTransport(self.handle), policies=policies, **keywords)

    async def handle(self, call: Call) -> Reply:
        """Answer one attempt; `MemoryTransport` calls this."""
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
            return self._answer_with_quirks(content, call, headers)
        return _reply(step.status, headers, content)

    def _answer_with_quirks(self, content: bytes, call: Call, headers: Mapping[str, str]) -> Reply:
        """The answer, changed by the quirks."""
        events = tuple(content.splitlines(keepends=True)[::2]) if call.streamed else ()
        body = b"" if events else content
        plan = ResponsePlan(headers=headers, content=body, events=tuple(event + b"\n" for event in events))
        changed = apply_quirks(self._quirks, plan, call.content)
        return _reply(changed.status, changed.headers, b"".join(changed.events) or changed.content)


def _reply(status: int, headers: Mapping[str, str], content: bytes) -> Reply:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Reply(status, Headers(raw), content)
