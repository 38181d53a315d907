"""How long a part that is not full waits for further rows."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from headrace_batch.part import Part, Stage
from headrace_batch.part_schedule import PartSchedule

pytestmark = pytest.mark.trio

POLL = 60.0


def a_part(number: int, stage: Stage = Stage.CREATED) -> Part:
    return Part(number, 2, 100, "d" * 32, "/chat/completions", "m", "https://batches.test/v1", stage=stage)


async def test_nothing_under_way_brings_rows(autojump_clock: trio.testing.MockClock) -> None:
    schedule = PartSchedule(POLL, lambda: False)
    assert schedule.seconds_left() == 0
    schedule.begin(None)
    schedule.end(None)
    assert (schedule.is_idle, schedule.seconds_left()) == (True, 0)


async def test_rows_of_batches_that_end_together_come_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    schedule, parts = PartSchedule(POLL, lambda: False), [a_part(number) for number in range(3)]
    for part in parts:
        schedule.begin(part)
    assert schedule.seconds_left() == 0, "none of the batches has ended, and it may take hours"
    parts[0].stage = Stage.ENDED
    assert schedule.seconds_left() == math.inf, "its results are merged now"
    change = schedule.next_change()
    schedule.end(parts[0])
    assert (change.is_set(), schedule.seconds_left()) == (True, POLL)
    await trio.sleep(40)
    assert schedule.seconds_left() == pytest.approx(POLL - 40)
    schedule.end(parts[1])
    assert schedule.seconds_left() == POLL
    await trio.sleep(2 * POLL)
    assert schedule.seconds_left() == 0
    schedule.end(parts[2])
    assert (schedule.is_idle, schedule.seconds_left()) == (True, 0)


async def test_a_session_that_must_finish_does_not_wait(autojump_clock: trio.testing.MockClock) -> None:
    schedule = PartSchedule(POLL, lambda: True)
    schedule.begin(a_part(1, Stage.ENDED))
    assert schedule.seconds_left() == 0
