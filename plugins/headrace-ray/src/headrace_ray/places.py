"""Which part of the calls in flight an actor gets: each has one place, which its successor takes over."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import attrs


@attrs.frozen
class ActorPlace:
    """The place of an actor among those of its session.

    Attributes:
        number: The place, from 0.
        actors: How many actors there are.
    """

    number: int
    actors: int

    def share_of(self, total: int) -> int:
        """Return the calls in flight of this actor; the shares of all actors add up to ``total``."""
        share, more = divmod(total, self.actors)
        return share + (self.number < more)


def take_place(shared: Path, actors: int) -> ActorPlace:
    """Take the first free place, until this process ends.

    All actors are made with the same arguments, so each finds its place by a lock. If no place is free, since
    Ray has started an actor in place of one that still lives, it has the last one, with the smallest share.
    """
    for number in range(actors):
        descriptor = os.open(shared / f"place-{number}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return ActorPlace(number, actors)  # the descriptor stays open
    return ActorPlace(actors - 1, actors)
