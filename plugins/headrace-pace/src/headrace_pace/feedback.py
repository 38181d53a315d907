"""Feedback of an attempt to the rate limiter: its use, its result, and the limits in its response."""

from __future__ import annotations

import functools
import time

from headrace import Call, CallError, Headers, Reply, StatusError, StreamResult
from headrace.plugins import is_daily_limit, is_out_of_credit, max_output_tokens
from headrace_pace.call_demand import NOTHING, Admission, CallDemand, actual_need, estimate_need
from headrace_pace.pause import MAX_STEP
from headrace_pace.rate_limit_headers import KINDS, RateLimitInfo, read_limits
from headrace_pace.rate_limiter import RateLimiter

_DAILY_PAUSE = 3600.0
"""Seconds of a pause when a daily quota is used up and the endpoint does not say how long to wait."""


def estimate(limiter: RateLimiter, call: Call) -> tuple[CallDemand, bool]:
    """Return the estimated need of a call, and whether its body sets no limit to the length of its answer."""
    output = max_output_tokens(call.request.body or {}, None)
    unbounded = output is None
    return estimate_need(
        call.content, limiter.answer_lengths.expected if output is None else output
    ), unbounded


def record_reply(limiter: RateLimiter, call: Call, admission: Admission, reply: Reply) -> None:
    """Settle a successful attempt, a stream at its end, and apply the limits in its headers."""
    if admission.need is None:
        pass
    elif call.streamed:
        call.add_done_callback(functools.partial(_settle_stream, limiter, call, admission, reply))
    else:
        _settle(limiter, call, admission, reply)
        limiter.untrack(admission)
    _update(limiter, call, admission, reply.headers)


def record_attempt(limiter: RateLimiter, call: Call, admission: Admission, *, succeeded: bool) -> None:
    """Record the result of an attempt that was not rejected."""
    if limiter.needs_results:
        limiter.record_result(call.now(), admission.number, succeeded=succeeded)
        limiter.wake_if_earlier(call.now)


def record_failure(
    limiter: RateLimiter, call: Call, admission: Admission, error: CallError, max_pause: float
) -> None:
    """Settle a failed attempt, and record a 429."""
    if not isinstance(error, StatusError):
        # An invalid answer still reports its usage. If the response broke or took too long, its usage is not
        # known, but the endpoint counted it: the estimate stays.
        if error.partial is not None:
            _settle(limiter, call, admission, error.partial)
            _update(limiter, call, admission, error.partial.headers)
        record_attempt(limiter, call, admission, succeeded=False)
        return
    if 400 <= error.status < 500 and admission.need is not None:
        limiter.settle(call.now(), admission, NOTHING)  # rejected, so no tokens were used
        limiter.wake_if_earlier(call.now)
    reported = None if error.headers is None else _update(limiter, call, admission, error.headers)
    if error.status != 429 or is_out_of_credit(error):
        record_attempt(limiter, call, admission, succeeded=False)
        return
    _record_rejection(limiter, call, admission, error, reported, max_pause)


def _record_rejection(
    limiter: RateLimiter,
    call: Call,
    admission: Admission,
    error: StatusError,
    reported: dict[str, RateLimitInfo] | None,
    max_pause: float,
) -> None:
    """Record a 429, and notify observers if a pause begins."""
    retry_after, reset = error.retry_after, None
    if reported is not None:
        reset = _exhausted_until(reported, admission.need or estimate(limiter, call)[0])
    per_day, step = is_daily_limit(error), MAX_STEP
    if per_day:
        step = _DAILY_PAUSE
        if retry_after is None and reset is None:
            retry_after = _DAILY_PAUSE
    seconds = limiter.record_rejection(
        call.now(),
        admission,
        reset if retry_after is None else retry_after,
        exhausted=per_day or reset is not None,
        step=step,
    )
    if limiter.paused_for(call.now()) > max_pause:
        for waiter in limiter.queue:
            waiter.wake()  # to fail at once
    limiter.wake_if_earlier(call.now)
    if seconds is not None:
        call.notify("pause", endpoint=call.endpoint.name, model=call.request.model, seconds=seconds)


def _exhausted_until(reported: dict[str, RateLimitInfo], need: CallDemand) -> float | None:
    """Return the seconds until limits that are used up reset, None if no limit is."""
    resets = [
        info.reset
        for info in reported.values()
        if info.reset and info.remaining is not None and info.remaining < need[KINDS.index(info.kind)]
    ]
    return max(resets, default=None)


def _settle(limiter: RateLimiter, call: Call, admission: Admission, reply: Reply) -> None:
    """Replace the estimate of a call by the usage of its reply."""
    usage = reply.usage
    if usage is not None and admission.need is not None:
        if usage.completion_tokens is not None:
            limiter.record_length(call.now(), usage.completion_tokens)
        limiter.settle(call.now(), admission, actual_need(usage, admission.need))
        limiter.wake_if_earlier(call.now)


def _settle_stream(
    limiter: RateLimiter, call: Call, admission: Admission, reply: Reply, result: StreamResult
) -> None:
    """Settle a stream at its end."""
    _settle(limiter, call, admission, reply)
    limiter.untrack(admission)


def _update(
    limiter: RateLimiter, call: Call, admission: Admission, headers: Headers
) -> dict[str, RateLimitInfo] | None:
    """Apply the limits that response headers report, and return them."""
    reported = read_limits(headers.raw, time.time())
    if reported is not None:
        limiter.update(reported, call.now(), admission, admission.need or estimate(limiter, call)[0])
        limiter.wake_if_earlier(call.now)
    return reported
