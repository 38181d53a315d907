"""What a call needs of each kind of limit, and how long answers are taken to be."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from headrace import Usage

_BYTES_A_TOKEN = 4
_FIRST_GUESS = 500
"""Tokens of an answer, while none has come; as headrace-route has it."""
_LATEST, _QUANTILE = 20, 0.9
_MOST_OUTPUT = 10**9


class Need(NamedTuple):
    """In the order of `headrace_pace.headers.KINDS`; ``tokens`` are those of input and output together."""

    requests: float = 1.0
    tokens: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0


REQUEST, NOTHING = Need(), Need(0.0)


def need(content: bytes, output: int) -> Need:
    """What a call with this body is taken to need, whose answer is taken to have so many tokens."""
    prompt, output = len(content) // _BYTES_A_TOKEN + 1, min(output, _MOST_OUTPUT)
    return Need(1.0, prompt + output, prompt, output)


def used(usage: Usage, taken: Need) -> Need:
    """What a call did use; where the endpoint did not say, what it was taken to need.

    Input that came from a cache is left out of ``input_tokens``: those who limit input do not count it.
    """
    prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
    if total is None:
        total = None if prompt is None or completion is None else prompt + completion
    return Need(
        1.0,
        taken.tokens if total is None else total,
        taken.input_tokens if prompt is None else max(0, prompt - (usage.cached_tokens or 0)),
        taken.output_tokens if completion is None else completion,
    )


class Lengths:
    """How long the answers of a model are: a high quantile of the latest ones.

    Not their mean: half of them are longer, and those that are on their way would need more than there is.
    With 90 % of the latest 20, three long answers are enough to raise it, and one alone is not.
    """

    __slots__ = ("_latest", "usual")

    def __init__(self) -> None:
        self._latest: deque[int] = deque(maxlen=_LATEST)
        self.usual = _FIRST_GUESS

    def learn(self, tokens: int) -> int:
        """An answer had so many tokens; returns by how much those under way are longer than was thought."""
        self._latest.append(min(tokens, _MOST_OUTPUT))
        before = self.usual
        self.usual = sorted(self._latest)[math.ceil(_QUANTILE * len(self._latest)) - 1]
        return max(0, self.usual - before)
