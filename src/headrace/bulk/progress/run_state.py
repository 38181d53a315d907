"""What displays show of a run: its totals, and what its client is doing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from headrace._support.text import shortened
from headrace._support.units import format_duration, format_usd
from headrace.bulk.executor import Executor
from headrace.bulk.summary import Summary
from headrace.bulk.summary_json import summary_values
from headrace.calls import Event


class ClientEvents:
    """Retries as they happen, and open circuits. An observer of the client.

    Attributes:
        retries: The number of retries, also of items that are not done.
    """

    name: str = "progress"

    def __init__(self) -> None:
        self.retries: int = 0
        self._open_circuits: dict[str, str] = {}

    def notify(self, event: Event) -> None:
        """Note retries, and circuits that open or close."""
        self.on_event(event.name, event.data)

    def on_event(self, name: str, data: Mapping[str, Any]) -> None:
        """Note an event of the client or of a worker process; see `notify`."""
        if name == "retry":
            self.retries += 1
        elif name == "circuit":
            endpoint = str(data.get("endpoint"))
            if data.get("state") == "open":
                self._open_circuits[endpoint] = str(
                    data.get("because") or f"the circuit of {endpoint} is open"
                )
            else:
                self._open_circuits.pop(endpoint, None)

    @property
    def open_circuits(self) -> dict[str, str]:
        """Why circuits are open, by endpoint."""
        return dict(self._open_circuits)

    @property
    def circuit(self) -> str:
        """Why a circuit is open; empty if none is."""
        return next(iter(self._open_circuits.values()), "")


@attrs.frozen
class RunState:
    """A run that goes on, in words.

    Args:
        summary: Its totals.
        executor: Makes its calls.
        events: What its client reports. If nobody observes the client, the retries of finished items count.
    """

    summary: Summary
    executor: Executor
    events: ClientEvents | None = None

    @property
    def done(self) -> str:
        """How many items are done, of how many; ``+`` if the input has more."""
        summary = self.summary
        return f"{summary.done:,}/{summary.total:,}{'' if summary.counted else '+'}"

    @property
    def activity(self) -> str:
        """Rate, failures, retries, calls in flight, cost, and what an engine says of itself."""
        summary = self.summary
        retries = summary.retries if self.events is None else self.events.retries
        parts = [
            f"{summary.rate:,.0f}/s",
            f"{summary.failed_before + summary.failed:,} failed",
            f"{retries:,} retries",
            f"{self.executor.in_flight:,} in flight",
        ]
        if summary.cost is not None:
            parts.append(format_usd(summary.cost))
        if status := getattr(self.executor, "status", ""):
            parts.append(status)
        return " · ".join(parts)

    @property
    def time_left(self) -> str:
        """About how long the rest takes; empty if that is not known, or nothing is left."""
        summary = self.summary
        if not summary.left or not summary.rate or not summary.counted:
            return ""
        return f"{format_duration(summary.left / summary.rate)} left"

    def status(self) -> dict[str, Any]:
        """The state as values of JSON, with the names of the summary as JSON; for `status_rows`."""
        summary, executor = self.summary, self.executor
        known = summary.left and summary.rate and summary.counted
        return {
            **summary_values(summary),
            "state": "waiting" if summary.waiting else "running",
            "counted": summary.counted,
            "time_left": summary.left / summary.rate if known else None,
            "retries": summary.retries if self.events is None else self.events.retries,
            "in_flight": executor.in_flight,
            "waiting": self.wait_reason,
            "engine_status": getattr(executor, "status", ""),
        }

    @property
    def wait_reason(self) -> str:
        """Why nothing is sent, on one line; empty while calls are sent."""
        if not self.summary.waiting:
            return ""
        circuit = "" if self.events is None else self.events.circuit
        return shortened(circuit or self.summary.waiting)
