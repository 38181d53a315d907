"""Whether a run is alive, as far as its socket, its lock and its output tell.

Only an answer or a lock proves that a run is alive, and only the growth of its output is there for every run:
one that was begun without this plugin has no socket, and the locks of another machine are not seen here. So
growth counts, but not growth before a sign of the end: a socket that refuses, or a lock that is gone.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

GROWING = 15.0
"""Seconds since the output grew, within which a run counts as alive without another sign."""

RunState: TypeAlias = Literal["running", "killed", "not running"]
"""A run is known to be killed if it has answered and left its socket, or if its output ends within a line."""


@attrs.frozen(kw_only=True)
class Signs:
    """What is seen of a run at one moment.

    Attributes:
        modified: When its output was changed, by the clock of `time.time`; None without an output.
        answers: Whether it has answered over its socket.
        refuses: Whether nothing listens any more where it took messages.
        socket_left: Whether it has left its socket there, as only a killed run does.
        locked: Whether a process of this machine holds its lock; None if that cannot be known.
        torn: Whether the output ends within a line.
    """

    modified: float | None = None
    answers: bool = False
    refuses: bool = False
    socket_left: bool = False
    locked: bool | None = None
    torn: bool = False


class Liveness:
    """Judges one run by its signs at several moments."""

    def __init__(self) -> None:
        self._has_answered = False
        self._ended = False
        self._modified_at_end: float | None = None

    def judge(self, signs: Signs, now: float) -> RunState:
        """The state of the run at a moment, by the clock of `time.time`."""
        if signs.answers or signs.locked:
            if signs.answers or signs.refuses:
                self._has_answered = signs.answers  # not if the socket is of an earlier session
            self._ended = False
            return "running"
        ended = signs.refuses or signs.locked is False
        if ended and not self._ended:
            self._modified_at_end = signs.modified
        self._ended = ended
        is_growing = signs.modified is not None and now - signs.modified < GROWING
        if is_growing and not (ended and signs.modified == self._modified_at_end):
            self._has_answered = False
            return "running"
        return "killed" if signs.torn or (signs.socket_left and self._has_answered) else "not running"
