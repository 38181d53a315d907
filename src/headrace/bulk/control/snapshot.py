"""The live snapshot of a run: its totals, what it does now, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs
import msgspec

from headrace.bulk.control.messages import VERSION
from headrace.bulk.control.records import Change
from headrace.bulk.policy_limits import LimitValue
from headrace.bulk.summary import Summary
from headrace.bulk.summary_json import encode_values, summary_values

RunStatus: TypeAlias = Literal["running", "paused", "waiting", "stopping", "ended"]
"""What a run does: it sends, it is paused, it waits for its endpoint, it finishes what is in flight, or it
has ended."""


@attrs.define(eq=False, repr=False)
class RunSnapshot(Summary):
    """The state of a run at one moment: its totals as a `Summary`, and what it does. It does not change.

    Attributes:
        run: The id of the run, the same in all sessions; empty without a journal.
        state: "running", "paused", "waiting" (for the endpoint), "stopping" or "ended".
        time: When it was taken, in seconds since 1970.
        out: The absolute path of the output; None in memory or on stdout.
        engine: The name of the engine that makes the calls; None for ordinary calls.
        engine_status: What the engine says of itself.
        in_flight: The number of calls in flight.
        max_in_flight: The most calls in flight; None if the engine has no such limit.
        circuits: Why circuits are open, by endpoint.
        limits: The limits that can be changed, by name; a limit that is not set is None.
        changes: The last changes of limits, oldest first.
    """

    run: str = attrs.field(default="", kw_only=True)
    state: RunStatus = attrs.field(default="running", kw_only=True)
    time: float = attrs.field(default=0.0, kw_only=True)
    out: str | None = attrs.field(default=None, kw_only=True)
    engine: str | None = attrs.field(default=None, kw_only=True)
    engine_status: str = attrs.field(default="", kw_only=True)
    in_flight: int = attrs.field(default=0, kw_only=True)
    max_in_flight: int | None = attrs.field(default=None, kw_only=True)
    circuits: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    limits: Mapping[str, LimitValue] = attrs.field(factory=dict, kw_only=True)
    changes: Sequence[Change] = attrs.field(factory=tuple, kw_only=True)

    @property
    def time_left(self) -> float | None:
        """About how many seconds the rest takes; None if that is not known, or nothing is left."""
        return self.left / self.rate if self.left and self.rate and self.counted else None

    def to_json(self) -> str:
        """The snapshot as one JSON object on one line.

        Members are only added in later versions. Amounts are strings, so that no digit is lost; what is
        unknown is null.
        """
        return encode_values(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The members of `to_json`, as values of JSON."""
        time_left = self.time_left
        return {
            "type": "status",
            "version": VERSION,
            "run": self.run,
            "state": self.state,
            "time": round(self.time, 3),
            "engine": self.engine,
            "engine_status": self.engine_status,
            **summary_values(self, {"out": self.out}),
            "counted": self.counted,
            "time_left": None if time_left is None else round(time_left, 3),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "waiting": self.waiting,
            "circuits": dict(self.circuits),
            "limits": dict(self.limits),
            "changes": msgspec.to_builtins(self.changes),
        }
