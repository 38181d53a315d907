"""The arguments ``samples`` and ``vote`` of a task, and what they exclude."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.errors import InputError
from headrace.wire.structured_output import ResponseFormat

MOST_SAMPLES = 128
"""The most answers that a request can ask for in OpenAI's API."""

_log = logging.getLogger("headrace")


def check_samples(
    samples: int | None,
    *,
    vote: bool,
    choices: Sequence[str],
    answer: ResponseFormat | None,
    parameters: Mapping[str, Any],
    extra_body: Mapping[str, Any],
) -> None:
    """Check what a task was given; see `Task` for the arguments.

    Equal answers are no mistake, so a temperature of 0 is only logged.

    Raises:
        InputError: The arguments are not valid, or do not fit together.
    """
    if not isinstance(vote, bool):
        raise InputError(f"vote={vote!r}: must be True or False")
    if samples is None:
        if vote:
            raise InputError("vote=: needs samples=, the number of answers for each row")
        return
    if type(samples) is not int or not 1 <= samples <= MOST_SAMPLES:
        raise InputError(f"samples={samples!r}: must be a number of answers from 1 to {MOST_SAMPLES}")
    for keyword, values in (("parameters", parameters), ("extra_body", extra_body)):
        if "n" in values:
            raise InputError(f"samples=: sets the parameter n; leave n out of {keyword}=")
    if vote and not choices and not (answer is not None and answer.choices):
        raise InputError("vote=: needs choices=, because it counts equal answers")
    if samples > 1 and parameters.get("temperature") == 0:
        _log.warning("the temperature is 0, so most of the %d answers of a row will be equal", samples)
