"""One process's line: who is asked for, who gets what, and what is booked ahead."""

from __future__ import annotations

from headrace.plugins import Waiter
from headrace_redis.gcra import Limits
from headrace_redis.lane import HORIZON, KEPT, LOOK, MOST, Answer, Booking, Lane, Turn
from headrace_redis.server import REMEMBERED


def a_lane(a_minute: float = 60_000) -> Lane:
    return Lane("k", "http://e", Limits.a_minute(a_minute, None, 1))


def call(tokens: int = 0, priority: float = 0) -> Waiter[Turn]:
    return Waiter(Turn(tokens), priority)


def lined_up(lane: Lane, number: int) -> list[Waiter[Turn]]:
    waiters = [call() for _ in range(number)]
    for waiter in waiters:
        lane.join(waiter)
    return waiters


def bookings(*waiters: Waiter[Turn]) -> tuple[Booking | None, ...]:
    return tuple(waiter.wanted.booking for waiter in waiters)


def test_slots_are_handed_out_in_the_order_of_the_line() -> None:
    lane = a_lane()
    first, second, third = lined_up(lane, 3)
    asked = lane.next_asked(10.0, members=1)
    lane.answered(10.0, Answer(slots=(0.0, 0.1), wait=0.4), asked)
    assert bookings(first, second, third) == (Booking(10.0, 0), Booking(10.1, 0), None)
    assert list(lane.line) == [third]
    assert not lane.due(10.4)
    assert lane.due(10.5)


def test_the_highest_priority_is_next_and_then_who_came_first() -> None:
    lane = a_lane()
    came = [("a", 0), ("b", 0), ("low", -1), ("high", 5), ("c", 0)]
    names = {}
    for name, priority in came:
        waiter = call(priority=priority)
        names[waiter] = name
        lane.join(waiter)
    assert [names[waiter] for waiter in lane.line] == ["high", "a", "b", "c", "low"]


def test_who_comes_during_an_exchange_gets_its_first_slot_where_its_priority_is_higher() -> None:
    lane = a_lane()
    first, second = lined_up(lane, 2)
    asked = lane.next_asked(0.0, members=1)
    high = call(priority=1)
    lane.join(high)
    lane.answered(0.0, Answer(slots=(0.0, 0.1)), asked)
    assert bookings(high, first) == (Booking(0.0, 0), Booking(0.1, 0))
    assert list(lane.line) == [second]


def test_a_small_call_does_not_wait_for_the_turn_of_a_large_one_behind_it() -> None:
    lane = Lane("k", "http://e", Limits.a_minute(None, 6000, 1))
    large, small = call(5000, -1), call(10)
    lane.join(large)
    asked = lane.next_asked(0.0, members=1)
    lane.answered(0.0, Answer(wait=40.0), asked)
    assert not lane.due(1.0)
    lane.join(call(5000))
    assert not lane.due(1.0)  # no smaller: its turn is no sooner
    lane.join(small)
    assert not lane.due(1.0)
    (first, *_) = lane.line
    lane.leave(first)
    assert lane.line.first() is small
    assert lane.due(1.0)


def test_who_went_away_during_an_exchange_leaves_its_slot_to_the_others() -> None:
    lane = a_lane()
    first, second = lined_up(lane, 2)
    asked = lane.next_asked(0.0, members=1)
    lane.leave(first)
    lane.answered(0.0, Answer(slots=(0.0, 0.1)), asked)
    assert second.wanted.booking == Booking(0.0, 0)
    assert lane.take(0.0, 0) == Booking(0.1, 0)  # or who comes next


def test_who_goes_away_with_a_booking_gives_it_back() -> None:
    lane = a_lane()
    (only,) = lined_up(lane, 1)
    asked = lane.next_asked(0.0, members=1)
    lane.answered(0.0, Answer(slots=(0.0,)), asked)
    lane.leave(only)
    assert lane.back_requests == 1


def test_after_a_failed_exchange_the_line_is_as_it_was() -> None:
    lane = a_lane()
    first, second, third = lined_up(lane, 3)
    lane.next_asked(0.0, members=1)
    lane.leave(second)
    lane.unanswered()
    assert list(lane.line) == [first, third]
    assert lane.due(0.0)


def test_more_is_booked_ahead_while_it_is_used_and_less_when_it_is_not() -> None:
    lane, sizes = a_lane(), []
    for now in range(4):
        lined_up(lane, 1)
        asked = lane.next_asked(now, members=1)
        lane.answered(now, Answer(slots=(0.0,) * len(asked)), asked)
        sizes.append(len(lane.ahead))
        while lane.take(now, 0):  # so many calls come
            pass
    assert sizes == [1, 2, 4, 8]
    lined_up(lane, 1)
    asked = lane.next_asked(10.0, members=1)
    lane.answered(10.0, Answer(slots=(0.0,) * len(asked)), asked)
    ahead = len(lane.ahead)
    assert lane.take(10.0 + KEPT * 2, 0) is None
    assert lane.back_requests == ahead


def test_no_process_books_more_than_its_part() -> None:
    lane = a_lane(a_minute=6000)  # 100 a second, 25 up to the horizon
    lined_up(lane, 100)
    assert len(lane.next_asked(0.0, members=5)) == 5 + 1  # and one ahead
    assert len(lane.next_asked(0.0, members=1000)) == 1
    fast = a_lane(a_minute=60_000_000)
    lined_up(fast, 1000)
    assert len(fast.next_asked(0.0, members=1)) == MOST


def test_what_was_booked_into_a_pause_is_gone_and_what_is_behind_it_stays() -> None:
    lane = a_lane()
    lane.ahead.extend([Booking(0.0, 7), Booking(4.9, 7), Booking(5.1, 7)])
    lane.paused_until = 5.0
    assert lane.take(0.0, 7) is None
    lined_up(lane, 1)
    lane.next_asked(0.0, members=1)
    assert list(lane.ahead) == [Booking(5.1, 7)]
    assert (lane.back_requests, lane.back_tokens) == (0, 0)


def test_where_there_are_many_processes_each_books_one_turn_however_far_ahead() -> None:
    lane = a_lane(a_minute=600)  # ten a second, and a hundred of us
    assert lane.seconds_per_call == 0.1
    first, second = lined_up(lane, 2)
    asked = lane.next_asked(0.0, members=100)
    assert asked == [0]
    lane.answered(0.0, Answer(slots=(9.0,)), asked)
    assert bookings(first, second) == (None, None)
    assert lane.take(0.0, 0) is None
    # Nobody asks again for what is booked; when it is near, it is for who is first then.
    assert not lane.due(9.0 - HORIZON)
    lane.leave(first)
    assert lane.due(9.0 - HORIZON / 2)
    assert lane.next_asked(9.0 - HORIZON / 2, members=100) == []
    assert second.wanted.booking == Booking(9.0, 0)


def test_while_a_far_turn_is_waited_for_there_is_an_exchange_now_and_then() -> None:
    lane = a_lane(a_minute=6)
    lined_up(lane, 2)
    lane.answered(0.0, Answer(slots=(100.0,)), lane.next_asked(0.0, members=100))
    assert not lane.due(LOOK - 0.1)
    assert lane.due(LOOK)
    assert lane.next_asked(LOOK, members=100) == []
    lane.answered(LOOK, Answer(), [])
    assert not lane.due(2 * LOOK - 0.1)
    assert LOOK * 2 < REMEMBERED


def test_the_difference_to_what_was_needed_is_given_back() -> None:
    lane = a_lane()
    lane.settle(estimated=500, used=120, output=20)
    lane.settle(estimated=500, used=600)
    assert lane.back_tokens == 280


def test_nobody_overtakes_those_for_whom_an_exchange_is_under_way() -> None:
    lane = a_lane()
    lane.ahead.append(Booking(0.0, 0))
    first, second = lined_up(lane, 2)
    asked = lane.next_asked(0.0, members=1)
    assert first.wanted.booking == Booking(0.0, 0)  # what was there is for who came first
    assert list(lane.line) == [second]
    lane.ahead.append(Booking(0.0, 0))
    assert lane.take(0.0, 0) is None
    lane.answered(0.0, Answer(slots=(0.0,) * len(asked)), asked)
    assert lane.take(0.0, 0) is not None


def booked(lane: Lane, now: float) -> Turn:
    """A call whose turn has come."""
    (waiter,) = lined_up(lane, 1)
    lane.answered(now, Answer(slots=(0.0,)), lane.next_asked(now, members=1))
    assert waiter.wanted.booking is not None
    waiter.wanted.came = now
    return waiter.wanted


def test_calls_whose_tokens_come_in_time_go_by_their_bookings() -> None:
    lane = a_lane(a_minute=60)
    turns = [booked(lane, 10.0) for _ in range(5)]
    assert all(lane.may_go(10.0 + KEPT, turn) for turn in turns)


def test_turns_that_have_become_old_go_at_no_more_than_the_limit() -> None:
    lane = a_lane(a_minute=60)
    turns = [booked(lane, float(now)) for now in range(10)]
    assert [lane.may_go(20.0, turn) for turn in turns[:3]] == [True, False, False]
    assert lane.may_go(21.0, turns[3])
    assert lane.back_requests == 0, "what was not used in time is not used later"


def test_of_several_processes_each_sends_its_share_of_turns_that_have_become_old() -> None:
    lane = a_lane(a_minute=60)
    turns = [booked(lane, float(now)) for now in range(10)]
    lane.next_asked(19.0, members=2)
    assert [lane.may_go(20.0, turn) for turn in turns[:2]] == [True, False]
    assert [lane.may_go(21.0, turns[2]), lane.may_go(22.0, turns[3])] == [False, True]


def test_a_turn_that_comes_in_a_pause_is_gone() -> None:
    lane = a_lane()
    turn = booked(lane, 10.0)
    lane.paused_until = 15.0
    assert not lane.may_go(10.0, turn)
    assert lane.back_requests == 0
