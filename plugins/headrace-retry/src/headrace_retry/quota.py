"""The retry quota: how many retries all calls of a client may make together; without I/O.

A bucket of tokens, as the standard retry mode of AWS's SDKs has it:

    what happens                                    tokens
    ----------------------------------------------  --------------------------------------------------------
    a retry is about to be made                     - `RETRY_COST`; after a timeout - `TIMEOUT_COST`
    the same, after a 429 that says when            none
    the same, where this machine has no connection  none
    there are fewer than that                       none are taken, and there is no retry
    a call succeeds at its first try                + 1
    a call succeeds at a later try                  + what its last retry took
    a retry is not made after all (cancelled)       + what it took

and never more than ``capacity``, with which it begins. So single failures among many successes cost nothing,
while an endpoint that only fails is sent no more than ``capacity`` / `RETRY_COST` retries in all, however
many calls there are: a call more is an attempt more, and not one for each of its tries.

A 429 that says when to come back is no trouble but a date: waiting for it is how a client keeps to the
endpoint's rate. In this the quota differs from that of AWS.
"""

from __future__ import annotations

from headrace import CallError, CallTimeout, LocalResourceError, RateLimited

RETRY_COST = 5
TIMEOUT_COST = 10


def cost_of_retry(error: CallError) -> int:
    """What a retry after ``error`` costs: a timeout has kept the endpoint busy for longer."""
    if isinstance(error, LocalResourceError) or (
        isinstance(error, RateLimited) and error.retry_after is not None
    ):
        return 0
    return TIMEOUT_COST if isinstance(error, CallTimeout) else RETRY_COST


class Quota:
    """So many tokens are ``left`` of ``capacity``; without end where that is infinite.

    ``used_up`` is true from the moment when a retry is refused until half of the tokens are there again: an
    endpoint that fails on and off is one shortage, not as many as it has refusals.
    """

    __slots__ = ("capacity", "left", "used_up")

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.left = capacity
        self.used_up = False

    def take(self, cost: int) -> bool:
        """Whether a retry may be made; if so, its cost is taken."""
        if cost > self.left:
            self.used_up = True
            return False
        self.left -= cost
        return True

    def succeeded(self, taken: int) -> None:
        """A call succeeded; ``taken`` is what its last retry took, 0 where it had none."""
        self.give_back(taken or 1)

    def give_back(self, tokens: int) -> None:
        """Put back what was taken for a retry that is not made."""
        self.left = min(self.capacity, self.left + tokens)
        if self.left >= self.capacity / 2:
            self.used_up = False
