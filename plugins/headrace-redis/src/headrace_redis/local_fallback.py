"""What an exchange would say while Redis is away: by this member's share of the limits."""

from __future__ import annotations

from headrace_redis.gcra import Schedule
from headrace_redis.lane import HORIZON, Answer, Lane


def answer_alone(lane: Lane, asked: list[int], now: float, sharers: int) -> Answer:
    """Book for calls of so many tokens as are asked for, at one of ``sharers`` parts of the lane's limits."""
    schedule = lane.by_itself
    if schedule is None:
        # As if the burst had just gone, for it may have.
        schedule = lane.by_itself = Schedule.without_burst(lane.limits.share(sharers), now)
        requests, tokens = lane.booked_after(now)  # with Redis, and they go all the same
        schedule.give_back(-requests, -tokens)
    schedule.give_back(lane.back_requests, lane.back_tokens)
    lane.back_requests = lane.back_tokens = 0
    if lane.paused_until > now:
        schedule.pause(now, lane.paused_until - now)
    lane.pause_asked = 0.0
    slots, wait = schedule.book_all(now, asked, HORIZON)
    return Answer(paused_for=max(0.0, schedule.paused - now), wait=wait, slots=slots)
