"""An endpoint in memory whose answers depend on the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from headrace.calls import Call
from headrace.replies import Reply
from headrace.testing import FakeEndpoint

SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["score", "note"],
    "additionalProperties": False,
}


def prompt_of(call: Call) -> str:
    """The prompt of a call."""
    prompt: str = (call.request.body or {})["messages"][-1]["content"]
    return prompt


class PromptEndpoint(FakeEndpoint):
    """Answers by the prompt, and counts the prompts.

    Args:
        answer: The answer to a prompt: what `FakeEndpoint` takes.

    Attributes:
        holds: Prompts whose answer waits for an event.
    """

    def __init__(self, answer: Callable[[str], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.prompts: Counter[str] = Counter()
        self.holds: dict[str, anyio.Event] = {}

    async def _answer(self, step: Any, call: Call) -> Reply:
        self.prompts[prompt_of(call)] += 1
        if (held := self.holds.get(prompt_of(call))) is not None:
            await held.wait()
        return await super()._answer(self.answer(prompt_of(call)), call)


def shop_answer(prompt: str) -> Any:
    """The answers of a shop: three categories, adverts for the garden, verdicts about them."""
    word, _, rest = prompt.partition(" ")
    if word == "Sort":
        return ["garden", "clothes", "kitchen"][int(rest[1:]) % 3]
    if word == "Advertise":
        return f"Buy {rest}!"
    return f'{{"score": {len(rest)}, "note": "about {rest}"}}'


@pytest.fixture
def shop() -> PromptEndpoint:
    """The endpoint of the shop."""
    return PromptEndpoint(shop_answer)
