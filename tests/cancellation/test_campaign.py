"""A small part of the cancellations of `python -m tests.cancellation`."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest
from tests.cancellation import campaign, http2
from tests.cancellation.campaign import LeftBehindError, World, perform

from headrace import Call, Reply, Send, Stage
from headrace.plugins import Waiter, WaitingQueue

SCALES = {"trio": 1.0, "asyncio": 0.02}
CALLS = int(os.environ.get("TEST_CANCELLED_CALLS", "1200"))


@pytest.mark.parametrize("backend", SCALES)
def test_calls_cancelled_at_any_moment_leave_nothing_behind(backend: str, tmp_path: Path) -> None:
    figures = perform(CALLS, 20261128, backend, tmp_path, SCALES[backend])
    assert figures.calls == CALLS
    assert figures.ends["cancelled"] > CALLS / 5
    assert figures.ends["ok"] > CALLS / 20


@attrs.frozen
class Forgets:
    """Queues calls, and forgets those that are cancelled in its queue."""

    queue: WaitingQueue[None] = attrs.field(factory=WaitingQueue)
    name: str = "forgets"
    stage: Stage = Stage.PACE

    def wrap(self, send: Send) -> Send:
        async def queued(call: Call) -> Reply:
            waiter = Waiter(None)
            self.queue.join(waiter)
            reply = await send(call)
            self.queue.leave(waiter)
            return reply

        return queued


def test_the_campaign_finds_a_leak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def forgets(world: World) -> Forgets:
        return Forgets()

    monkeypatch.setattr(campaign, "POLICIES", {"forgets": forgets})
    with pytest.raises(LeftBehindError, match=r"forgets, seed 1, trio: .*a queue"):
        perform(50, 1, "trio", tmp_path, SCALES["trio"])


@pytest.mark.parametrize("backend", SCALES)
def test_one_of_a_hundred_streams_is_cancelled_and_the_others_are_answered(backend: str) -> None:
    figures = http2.perform(30, 500, 20261128, backend)
    assert figures.ends["ok"] > 2970
    assert figures.ends["cancelled"] > 20
    assert figures.objects < 2000
