"""An observer that records events."""

from __future__ import annotations

from typing import Any

import attrs

from headrace.calls import Event


@attrs.define(eq=False)
class EventRecorder:
    """An observer that records the events of a client.

    Attributes:
        events: All events, in the order in which they happened.

    Example:
        ```python
        recorder = EventRecorder()
        async with FakeEndpoint(500, "ok").client([Retry(base=0)], observers=[recorder]) as client:
            await client.chat("Hello")
        assert [event.name for event in recorder.events] == ["retry"]
        ```
    """

    name = "recorder"

    events: list[Event] = attrs.field(factory=list, init=False)

    def notify(self, event: Event) -> None:
        """Record the event."""
        self.events.append(event)

    def data(self, name: str) -> list[dict[str, Any]]:
        """Return the data of each event with this name."""
        return [dict(event.data) for event in self.events if event.name == name]
