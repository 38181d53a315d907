"""What the client of a run reports while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
