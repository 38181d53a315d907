"""An endpoint in memory that gives several answers, one, some, or rejects the parameter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pytest

from headrace.calls import Call
from headrace.replies import Reply
from headrace.testing import FakeEndpoint
from headrace.testing.fake import Answer

Ability = Literal["all", "one", "rejects"] | int


def reply_with(texts: Sequence[str | Mapping[str, Any]]) -> Answer:
    """An answer with these choices: texts, or whole choices."""
    choices = [
        {"message": {"role": "assistant", "content": each}, "finish_reason": "stop"}
        if isinstance(each, str)
        else each
        for each in texts
    ]
    usage = {"prompt_tokens": 10, "completion_tokens": 5 * len(texts), "total_tokens": 10 + 5 * len(texts)}
    return Answer(body={"model": "fake-model", "choices": choices, "usage": usage})


class SampleEndpoint(FakeEndpoint):
    """Gives the answers of a list to each prompt, one after another, and begins again at its end.

    Args:
        answers: What is given: texts, whole choices, or statuses. A status takes a request of its own.
        ability: What it makes of ``n``: all answers, one, at most so many, or an error.

    Attributes:
        given: How many answers each prompt has got.
    """

    def __init__(self, answers: Sequence[Any], ability: Ability = "all") -> None:
        super().__init__()
        self.answers = answers
        self.ability = ability
        self.given: Counter[str] = Counter()
        self.rejection: Any = Answer(status=400)

    @property
    def numbers(self) -> list[int | None]:
        """The ``n`` of each attempt."""
        return [(attempt.body or {}).get("n") for attempt in self.attempts]

    async def _answer(self, step: Any, call: Call) -> Reply:
        body = call.request.body or {}
        number = body.get("n", 1)
        if self.ability == "rejects" and "n" in body:
            return await super()._answer(self.rejection, call)
        if self.ability != "all":
            number = min(number, self.ability if isinstance(self.ability, int) else 1)
        prompt = body["messages"][-1]["content"]
        found: list[Any] = []
        for _ in range(number):
            answer = self.answers[self.given[prompt] % len(self.answers)]
            if isinstance(answer, int) and found:
                break
            self.given[prompt] += 1
            if isinstance(answer, int):
                return await super()._answer(answer, call)
            found.append(answer)
        return await super()._answer(reply_with(found), call)


@pytest.fixture
def endpoint() -> Callable[..., SampleEndpoint]:
    """Makes an endpoint."""
    return SampleEndpoint
