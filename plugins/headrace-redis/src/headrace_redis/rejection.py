"""Why a call fails instead of waiting for its turn."""

from __future__ import annotations

import attrs

from headrace import BudgetExceeded, CallError, CircuitOpen
from headrace_redis.lane import Answer, Lane
from headrace_redis.purse import Purse
from headrace_redis.reach import Reach


@attrs.frozen(eq=False)
class Refusals:
    """Decides what calls fail with; ``max_pause`` is the longest pause in seconds that a call waits for."""

    purse: Purse
    reach: Reach
    max_pause: float

    def over_budget(self) -> BudgetExceeded | None:
        """What calls fail with if the budget is spent; None if it is not."""
        return self.purse.exceeded(self.reach.away, self.reach.sharers)

    def after(self, lane: Lane, answer: Answer) -> CallError | None:
        """What calls fail with after an exchange about a lane; None if they are to wait for their turn."""
        over = self.over_budget()
        if over is not None:
            return over
        if answer.open_for:
            return CircuitOpen(
                f"not sent: another process has found {lane.base_url} failing, and its circuit is open for "
                f"another {answer.open_for:.1f} s",
                answer.open_for,
            )
        if answer.paused_for > self.max_pause:
            return CircuitOpen(
                f"not sent: {lane.base_url} asks to stay away; come back in {answer.paused_for:.0f} s",
                answer.paused_for,
            )
        return None
