"""The result of an exchange while Redis is unavailable: from this member's share of the limits."""

from __future__ import annotations

from headrace_redis.gcra import GcraSchedule
from headrace_redis.shared_lane import SharedLane
from headrace_redis.turns import HORIZON, ExchangeResult


def local_fallback(lane: SharedLane, tokens: list[int], now: float, sharers: int) -> ExchangeResult:
    """Book turns for calls with these ``tokens``, at one of ``sharers`` equal shares of the lane's limits."""
    schedule = lane.local_schedule
    if schedule is None:
        # Assume that the burst has just been used, because it may have been.
        schedule = lane.local_schedule = GcraSchedule.without_burst(lane.limits.share(sharers), now)
        booked_requests, booked_tokens = lane.booked_after(now)  # booked with Redis; these calls still go
        schedule.refund(-booked_requests, -booked_tokens)
    schedule.refund(lane.refund_requests, lane.refund_tokens)
    lane.refund_requests = lane.refund_tokens = 0
    if lane.paused_until > now:
        schedule.pause(now, lane.paused_until - now)
    lane.pause_to_share = 0.0
    slots, wait = schedule.book_all(now, tokens, HORIZON)
    return ExchangeResult(paused_for=max(0.0, schedule.paused_until - now), wait=wait, slots=slots)
