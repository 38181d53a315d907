"""How long a run waits for an endpoint that gives no answers."""

from __future__ import annotations

import anyio

_SHORTEST_PAUSE = 0.5
"""Seconds. A half-open circuit that makes its probes asks for a wait of 0."""

_FIRST_BACKOFF, _LONGEST_BACKOFF = 2.0, 60.0
"""Seconds of a pause for which the endpoint gave no length; doubled each time until a call succeeds."""


class EndpointWait:
    """The pauses of a run since the last success.

    Args:
        most: Seconds that they take together before the run gives up.
        since: The time from which they count.
    """

    def __init__(self, most: float, since: float) -> None:
        self._most = most
        self._since = since
        self._succeeded = 0
        self._backoff = _FIRST_BACKOFF

    def begin_again(self) -> None:
        """Count from now on: what was before was no wait for the endpoint."""
        self._since = anyio.current_time()

    def note_successes(self, succeeded: int) -> None:
        """Note how many items have succeeded so far."""
        if succeeded > self._succeeded:
            self._since, self._succeeded, self._backoff = anyio.current_time(), succeeded, _FIRST_BACKOFF

    def next_pause(self, asked: float | None) -> float | None:
        """Seconds of the next pause; None if the run has waited long enough.

        Args:
            asked: Seconds that the endpoint asked for; None for no length.
        """
        left = self._since + self._most - anyio.current_time()
        seconds = min(self._backoff, left) if asked is None else asked
        self._backoff = min(2 * self._backoff, _LONGEST_BACKOFF)
        return None if seconds > left or left <= 0 else max(seconds, _SHORTEST_PAUSE)
