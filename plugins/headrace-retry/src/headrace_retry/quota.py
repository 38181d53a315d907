"""The retry quota: how many retries all calls of a client may make together. No I/O.

It is a token bucket, as in the standard retry mode of AWS's SDKs:

    event                                      tokens
    -----------------------------------------  --------------------------------------------------------------
    a retry is about to be made                - `RETRY_COST`; after a timeout - `TIMEOUT_COST`
    ... after a 429 with `Retry-After`         none
    ... after a local resource error           none
    fewer tokens are left than the retry costs none are taken, and there is no retry
    a call succeeds at its first attempt       + 1
    a call succeeds at a later attempt         + the cost of its last retry
    a retry is not sent after all (cancelled)  + its cost

There are never more than ``capacity`` tokens, and the quota starts with that many. Single failures among many
successes therefore cost nothing. An endpoint that only fails gets at most ``capacity`` / `RETRY_COST` retries
in total, however many calls there are: each further call adds one attempt.

A 429 with `Retry-After` costs nothing, unlike at AWS: waiting for that long is how a client keeps to the
endpoint's rate.
"""

from __future__ import annotations

from headrace import CallError, CallTimeout, LocalResourceError, RateLimited

RETRY_COST = 5
TIMEOUT_COST = 10


def cost_of_retry(error: CallError) -> int:
    """Return the cost of a retry after ``error``; a timeout costs more, as the endpoint was busy longer."""
    if isinstance(error, LocalResourceError) or (
        isinstance(error, RateLimited) and error.retry_after is not None
    ):
        return 0
    return TIMEOUT_COST if isinstance(error, CallTimeout) else RETRY_COST


class Quota:
    """A token bucket: ``left`` tokens of ``capacity``, which may be infinite.

    ``exhausted`` is true from the first rejected retry until half of the tokens are back. So an endpoint that
    fails on and off causes one shortage, and not one for each rejected retry.
    """

    __slots__ = ("capacity", "exhausted", "left")

    def __init__(self, capacity: float) -> None:
        self.capacity: float = capacity
        self.left: float = capacity
        self.exhausted: bool = False

    def try_acquire(self, cost: int) -> bool:
        """Take the cost of a retry and return True, or return False if too few tokens are left."""
        if cost > self.left:
            self.exhausted = True
            return False
        self.left -= cost
        return True

    def record_success(self, cost: int) -> None:
        """Record that a call succeeded; ``cost`` is the cost of its last retry, 0 without a retry."""
        self.release(cost or 1)

    def release(self, tokens: int) -> None:
        """Return tokens, up to the capacity."""
        self.left = min(self.capacity, self.left + tokens)
        if self.left >= self.capacity / 2:
            self.exhausted = False
