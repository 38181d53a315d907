"""Turns of calls: the request of a waiting call, its booking, and the result of an exchange."""

from __future__ import annotations

import attrs

HORIZON = 0.25
"""Seconds ahead for which turns are booked, in addition to one per process. Other processes do not get these
turns. A turn that is further ahead belongs to no call yet."""


@attrs.frozen
class Booking:
    """A booked turn: a call with ``tokens`` may go at ``at``, on the event loop's clock."""

    at: float
    tokens: int


@attrs.define(eq=False)
class TurnRequest:
    """A call's request for a turn: its ``tokens`` and its booking.

    Until ``ready_at`` the call waits for the booked time, then for the client's concurrency limiter.
    """

    tokens: int
    booking: Booking | None = None
    ready_at: float = 0.0


@attrs.frozen(kw_only=True)
class ExchangeResult:
    """The result of an exchange; times are in seconds.

    Attributes:
        spent: Nano-USD that all members have spent.
        members: How many members there are.
        open_for: How long the endpoint's circuit is open, 0 if it is closed.
        paused_for: How long all calls pause, 0 without a pause.
        wait: How long until the first call that was not booked may be booked.
        epoch: When the server created the lane, as text; "" without a server.
        age: How long ago that was.
        slots: How long until the slot of each booked call.
    """

    spent: int = 0
    members: int = 1
    open_for: float = 0.0
    paused_for: float = 0.0
    wait: float = 0.0
    epoch: str = ""
    age: float = 0.0
    slots: tuple[float, ...] = ()
