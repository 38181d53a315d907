"""How many tokens a call will need, learnt from the latest answers of its model."""

from __future__ import annotations

import math
from collections import deque

import attrs

from headrace import Call
from headrace.plugins import estimate_prompt_tokens, max_output_tokens

_DEFAULT_OUTPUT = 256
"""Expected output tokens before the first answer."""

_LATEST, _QUANTILE = 20, 0.9
"""Afterwards: this quantile of the latest answers, as in headrace-pace."""


@attrs.define(eq=False)
class TokenEstimator:
    """Estimates of one model at one endpoint; ``mean`` is the moving average of all estimates."""

    mean: float = 0.0
    _outputs: deque[int] = attrs.field(factory=lambda: deque(maxlen=_LATEST))
    _expected_output: int = _DEFAULT_OUTPUT

    def estimate(self, call: Call) -> int:
        """Return the estimate of the prompt plus the output limit, or else the expected output."""
        output = max_output_tokens(call.request.body or {}, None)
        tokens = estimate_prompt_tokens(call.content) + (self._expected_output if output is None else output)
        self.mean += (tokens - self.mean) / 16
        return tokens

    def record_output(self, tokens: int) -> None:
        """Record the output tokens of an answer."""
        self._outputs.append(tokens)
        self._expected_output = sorted(self._outputs)[math.ceil(_QUANTILE * len(self._outputs)) - 1]
