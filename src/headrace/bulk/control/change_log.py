"""The changes of a run while it goes on: kept for its snapshot, logged, and written to its sidecar."""

from __future__ import annotations

import logging
from collections import deque
from typing import Protocol

from headrace.bulk.control.records import Change, change_of, record_address, record_change
from headrace.bulk.policy_limits import LimitValue

_log = logging.getLogger("headrace")

_SHOWN_CHANGES = 20


class SidecarOwner(Protocol):
    """The part of a journal that records changes."""

    @property
    def sidecar(self) -> int:
        """The descriptor of the sidecar, which is open and locked."""


class ChangeLog:
    """The changes of a run.

    Args:
        out: The output, for the log; None in memory or on stdout.
        journal: Holds the sidecar of the output; None without one.
    """

    def __init__(self, out: str | None, journal: SidecarOwner | None) -> None:
        self._out = out
        self._sidecar_owner = journal
        self._changes: deque[Change] = deque(maxlen=_SHOWN_CHANGES)

    @property
    def last(self) -> tuple[Change, ...]:
        """The last changes, oldest first."""
        return tuple(self._changes)

    def note(self, what: str, old: LimitValue, new: LimitValue) -> Change:
        """Keep, log and write a change."""
        change = change_of(what, old, new)
        self._changes.append(change)
        _log.info("%s: %s", self._out or "run", change)
        if self._sidecar_owner is not None:
            record_change(self._sidecar_owner.sidecar, change)
        return change

    def announce(self, address: str) -> None:
        """Write to the sidecar where the run takes control messages."""
        if self._sidecar_owner is not None:
            record_address(self._sidecar_owner.sidecar, address)
