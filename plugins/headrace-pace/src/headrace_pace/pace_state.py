"""The state of a rate limiter, as users see it."""

from __future__ import annotations

import attrs


@attrs.frozen
class PaceState:
    """What may be sent at once now.

    Attributes:
        requests: Requests; None if no limit is known; negative for a debt that calls wait for.
        tokens: Input and output tokens together, in the same way.
        paused_for: Seconds until the pause is over, 0 without a pause.
        waiting: Calls that wait.
        input_tokens: Input tokens.
        output_tokens: Output tokens.
        learnt_rate: Requests per second to which rejections have limited the calls, None if they have not.
    """

    requests: int | None = None
    tokens: int | None = None
    paused_for: float = 0.0
    waiting: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    learnt_rate: float | None = None
