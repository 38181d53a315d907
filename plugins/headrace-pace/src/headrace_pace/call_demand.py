"""The demand of a call for each kind of limit: its estimate, its actual use, and the length of answers."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import attrs

from headrace import Usage
from headrace.plugins import estimate_prompt_tokens

_DEFAULT_OUTPUT_TOKENS = 500
"""Expected length of an answer before the first one came; the same as in headrace-route."""
_LATEST, _QUANTILE = 20, 0.9
_MAX_OUTPUT = 10**9


class CallDemand(NamedTuple):
    """What a call needs, in the order of `rate_limit_headers.KINDS`; ``tokens`` are input plus output."""

    requests: float = 1.0
    tokens: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0


REQUEST, NOTHING = CallDemand(), CallDemand(0.0)


def estimate_need(content: bytes, output: int) -> CallDemand:
    """Return what a call with this body needs if its answer has ``output`` tokens."""
    prompt, output = estimate_prompt_tokens(content), min(output, _MAX_OUTPUT)
    return CallDemand(1.0, prompt + output, prompt, output)


def actual_need(usage: Usage, estimate: CallDemand) -> CallDemand:
    """Return what a call used; the estimate for what the endpoint does not report.

    Cached input is not part of ``input_tokens``: providers that limit input do not count it.
    """
    prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
    if total is None:
        total = None if prompt is None or completion is None else prompt + completion
    return CallDemand(
        1.0,
        estimate.tokens if total is None else total,
        estimate.input_tokens if prompt is None else max(0, prompt - (usage.cached_tokens or 0)),
        estimate.output_tokens if completion is None else completion,
    )


@attrs.define(eq=False)
class Admission:
    """A call that was admitted.

    Attributes:
        begun: When it was admitted.
        number: The number of its attempt.
        taken: The sum of the estimates of all calls admitted by then.
        need: The estimate of this call; None if tokens are not counted.
        unbounded: Whether its body sets no limit to the length of its answer.
    """

    begun: float
    number: int
    taken: CallDemand
    need: CallDemand | None = None
    unbounded: bool = False


class AnswerLengths:
    """The expected length of a model's answers: a high quantile of the latest ones.

    The mean would be too low: half of the answers are longer, and the calls in flight would need more than is
    available. With the 90 % quantile of the latest 20, three long answers raise the estimate, and one does
    not.
    """

    __slots__ = ("_latest", "expected")

    def __init__(self) -> None:
        self._latest: deque[int] = deque(maxlen=_LATEST)
        self.expected: int = _DEFAULT_OUTPUT_TOKENS

    def record(self, tokens: int) -> int:
        """Record the length of an answer; return by how much the expected length has grown."""
        self._latest.append(min(tokens, _MAX_OUTPUT))
        before = self.expected
        self.expected = sorted(self._latest)[math.ceil(_QUANTILE * len(self._latest)) - 1]
        return max(0, self.expected - before)
