"""The observer that records events."""

from __future__ import annotations

import pytest

from headrace import Call, Reply, Send, Stage
from headrace.testing import EventRecorder, FakeEndpoint

pytestmark = pytest.mark.anyio


class Notifying:
    """A policy that reports two events per call."""

    name = "notifying"
    stage = Stage.OBSERVE

    def wrap(self, send: Send) -> Send:
        async def notify_and_send(call: Call) -> Reply:
            call.notify("begin", path=call.request.path)
            reply = await send(call)
            call.notify("end", status=reply.status)
            return reply

        return notify_and_send


async def test_events_are_recorded_in_order_with_their_data() -> None:
    recorder = EventRecorder()
    async with FakeEndpoint().client([Notifying()], observers=[recorder]) as client:
        await client.chat("one")
        await client.request("GET", "/models")
    assert [event.name for event in recorder.events] == ["begin", "end", "begin", "end"]
    assert recorder.data("begin") == [{"path": "/chat/completions"}, {"path": "/models"}]
    assert recorder.data("end") == [{"status": 200}] * 2
    assert recorder.data("other") == []
