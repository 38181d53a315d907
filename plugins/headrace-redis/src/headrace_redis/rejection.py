"""Why a call fails instead of waiting for its turn."""

from __future__ import annotations

import attrs

from headrace import BudgetExceeded, CallError, CircuitOpen
from headrace_redis.availability import RedisAvailability
from headrace_redis.shared_budget import SharedBudget
from headrace_redis.shared_lane import SharedLane
from headrace_redis.turns import ExchangeResult


@attrs.frozen(eq=False)
class RejectionRules:
    """Decide whether calls fail; ``max_pause`` is the longest pause in seconds that a call waits for."""

    budget: SharedBudget
    availability: RedisAvailability
    max_pause: float

    def over_budget(self) -> BudgetExceeded | None:
        """Return the error of all calls if the budget is spent, else None."""
        return self.budget.exceeded(self.availability.away, self.availability.sharers)

    def after(self, lane: SharedLane, result: ExchangeResult) -> CallError | None:
        """Return the error of a lane's calls after an exchange; None if they wait for their turns."""
        over = self.over_budget()
        if over is not None:
            return over
        if result.open_for:
            return CircuitOpen(
                f"not sent: another process has opened the circuit of {lane.base_url}; retry after "
                f"{result.open_for:.1f} s",
                result.open_for,
            )
        if result.paused_for > self.max_pause:
            return CircuitOpen(
                f"not sent: calls to {lane.base_url} are paused; retry after {result.paused_for:.0f} s",
                result.paused_for,
            )
        return None
