"""The queue of one process: which calls exchanges book, which get the turns, and turns booked ahead."""

from __future__ import annotations

from headrace.plugins import Waiter
from headrace_redis.gcra import GcraLimits
from headrace_redis.server import MEMBER_TTL
from headrace_redis.shared_lane import BOOKING_TTL, MAX_BOOKINGS, MAX_EXCHANGE_INTERVAL, SharedLane
from headrace_redis.turns import HORIZON, Booking, ExchangeResult, TurnRequest


def make_lane(per_minute: float = 60_000) -> SharedLane:
    return SharedLane("k", "http://e", GcraLimits.per_minute(per_minute, None, 1))


def call(tokens: int = 0, priority: float = 0) -> Waiter[TurnRequest]:
    return Waiter(TurnRequest(tokens), priority)


def queue_calls(lane: SharedLane, number: int) -> list[Waiter[TurnRequest]]:
    waiters = [call() for _ in range(number)]
    for waiter in waiters:
        lane.join(waiter)
    return waiters


def bookings(*waiters: Waiter[TurnRequest]) -> tuple[Booking | None, ...]:
    return tuple(waiter.wanted.booking for waiter in waiters)


def test_booked_slots_go_to_the_queue_in_order() -> None:
    lane = make_lane()
    first, second, third = queue_calls(lane, 3)
    tokens = lane.tokens_to_book(10.0, members=1)
    lane.apply(10.0, ExchangeResult(slots=(0.0, 0.1), wait=0.4), tokens)
    assert bookings(first, second, third) == (Booking(10.0, 0), Booking(10.1, 0), None)
    assert list(lane.queue) == [third]
    assert not lane.exchange_due(10.4)
    assert lane.exchange_due(10.5)


def test_the_queue_is_ordered_by_priority_and_then_fifo() -> None:
    lane = make_lane()
    arrivals = [("a", 0), ("b", 0), ("low", -1), ("high", 5), ("c", 0)]
    names = {}
    for name, priority in arrivals:
        waiter = call(priority=priority)
        names[waiter] = name
        lane.join(waiter)
    assert [names[waiter] for waiter in lane.queue] == ["high", "a", "b", "c", "low"]


def test_an_urgent_call_that_comes_during_an_exchange_gets_its_first_slot() -> None:
    lane = make_lane()
    first, second = queue_calls(lane, 2)
    tokens = lane.tokens_to_book(0.0, members=1)
    high = call(priority=1)
    lane.join(high)
    lane.apply(0.0, ExchangeResult(slots=(0.0, 0.1)), tokens)
    assert bookings(high, first) == (Booking(0.0, 0), Booking(0.1, 0))
    assert list(lane.queue) == [second]


def test_a_small_call_does_not_wait_for_the_turn_of_a_large_call_behind_it() -> None:
    lane = SharedLane("k", "http://e", GcraLimits.per_minute(None, 6000, 1))
    large, small = call(5000, -1), call(10)
    lane.join(large)
    tokens = lane.tokens_to_book(0.0, members=1)
    lane.apply(0.0, ExchangeResult(wait=40.0), tokens)
    assert not lane.exchange_due(1.0)
    lane.join(call(5000))
    assert not lane.exchange_due(1.0)  # not smaller, so its turn is not earlier
    lane.join(small)
    assert not lane.exchange_due(1.0)
    (first, *_) = lane.queue
    lane.leave(first)
    assert lane.queue.first() is small
    assert lane.exchange_due(1.0)


def test_a_call_cancelled_during_an_exchange_leaves_its_slot_to_the_others() -> None:
    lane = make_lane()
    first, second = queue_calls(lane, 2)
    tokens = lane.tokens_to_book(0.0, members=1)
    lane.leave(first)
    lane.apply(0.0, ExchangeResult(slots=(0.0, 0.1)), tokens)
    assert second.wanted.booking == Booking(0.0, 0)
    assert lane.take_ahead(0.0, 0) == Booking(0.1, 0)  # or to the next call


def test_a_cancelled_call_refunds_its_booking() -> None:
    lane = make_lane()
    (only,) = queue_calls(lane, 1)
    tokens = lane.tokens_to_book(0.0, members=1)
    lane.apply(0.0, ExchangeResult(slots=(0.0,)), tokens)
    lane.leave(only)
    assert lane.refund_requests == 1


def test_a_failed_exchange_keeps_the_queue() -> None:
    lane = make_lane()
    first, second, third = queue_calls(lane, 3)
    lane.tokens_to_book(0.0, members=1)
    lane.leave(second)
    lane.exchange_failed()
    assert list(lane.queue) == [first, third]
    assert lane.exchange_due(0.0)


def test_the_number_of_turns_booked_ahead_follows_their_use() -> None:
    lane, sizes = make_lane(), []
    for now in range(4):
        queue_calls(lane, 1)
        tokens = lane.tokens_to_book(now, members=1)
        lane.apply(now, ExchangeResult(slots=(0.0,) * len(tokens)), tokens)
        sizes.append(len(lane.ahead))
        while lane.take_ahead(now, 0):  # this many calls come
            pass
    assert sizes == [1, 2, 4, 8]
    queue_calls(lane, 1)
    tokens = lane.tokens_to_book(10.0, members=1)
    lane.apply(10.0, ExchangeResult(slots=(0.0,) * len(tokens)), tokens)
    ahead = len(lane.ahead)
    assert lane.take_ahead(10.0 + BOOKING_TTL * 2, 0) is None
    assert lane.refund_requests == ahead


def test_no_process_books_more_than_its_share() -> None:
    lane = make_lane(per_minute=6000)  # 100 per second, 25 up to the horizon
    queue_calls(lane, 100)
    assert len(lane.tokens_to_book(0.0, members=5)) == 5 + 1  # and one ahead
    assert len(lane.tokens_to_book(0.0, members=1000)) == 1
    fast = make_lane(per_minute=60_000_000)
    queue_calls(fast, 1000)
    assert len(fast.tokens_to_book(0.0, members=1)) == MAX_BOOKINGS


def test_turns_booked_into_a_pause_are_lost() -> None:
    lane = make_lane()
    lane.ahead.extend([Booking(0.0, 7), Booking(4.9, 7), Booking(5.1, 7)])
    lane.paused_until = 5.0
    assert lane.take_ahead(0.0, 7) is None
    queue_calls(lane, 1)
    lane.tokens_to_book(0.0, members=1)
    assert list(lane.ahead) == [Booking(5.1, 7)]
    assert (lane.refund_requests, lane.refund_tokens) == (0, 0)


def test_each_of_many_processes_books_one_turn_however_far_ahead() -> None:
    lane = make_lane(per_minute=600)  # ten per second, and a hundred processes
    assert lane.seconds_per_call == 0.1
    first, second = queue_calls(lane, 2)
    tokens = lane.tokens_to_book(0.0, members=100)
    assert tokens == [0]
    lane.apply(0.0, ExchangeResult(slots=(9.0,)), tokens)
    assert bookings(first, second) == (None, None)
    assert lane.take_ahead(0.0, 0) is None
    # A booked turn is not booked again; shortly before its time, it goes to the first call.
    assert not lane.exchange_due(9.0 - HORIZON)
    lane.leave(first)
    assert lane.exchange_due(9.0 - HORIZON / 2)
    assert lane.tokens_to_book(9.0 - HORIZON / 2, members=100) == []
    assert second.wanted.booking == Booking(9.0, 0)


def test_exchanges_go_on_while_a_far_turn_is_waited_for() -> None:
    lane = make_lane(per_minute=6)
    queue_calls(lane, 2)
    lane.apply(0.0, ExchangeResult(slots=(100.0,)), lane.tokens_to_book(0.0, members=100))
    assert not lane.exchange_due(MAX_EXCHANGE_INTERVAL - 0.1)
    assert lane.exchange_due(MAX_EXCHANGE_INTERVAL)
    assert lane.tokens_to_book(MAX_EXCHANGE_INTERVAL, members=100) == []
    lane.apply(MAX_EXCHANGE_INTERVAL, ExchangeResult(), [])
    assert not lane.exchange_due(2 * MAX_EXCHANGE_INTERVAL - 0.1)
    assert MAX_EXCHANGE_INTERVAL * 2 < MEMBER_TTL


def test_the_difference_to_the_estimate_is_refunded() -> None:
    lane = make_lane()
    lane.settle(estimated=500, used=120, output=20)
    lane.settle(estimated=500, used=600)
    assert lane.refund_tokens == 280


def test_no_call_overtakes_those_that_wait_for_an_exchange() -> None:
    lane = make_lane()
    lane.ahead.append(Booking(0.0, 0))
    first, second = queue_calls(lane, 2)
    tokens = lane.tokens_to_book(0.0, members=1)
    assert first.wanted.booking == Booking(0.0, 0)  # the turn booked ahead goes to the first call
    assert list(lane.queue) == [second]
    lane.ahead.append(Booking(0.0, 0))
    assert lane.take_ahead(0.0, 0) is None
    lane.apply(0.0, ExchangeResult(slots=(0.0,) * len(tokens)), tokens)
    assert lane.take_ahead(0.0, 0) is not None


def book_turn(lane: SharedLane, now: float) -> TurnRequest:
    """Return the turn of a call that may go now."""
    (waiter,) = queue_calls(lane, 1)
    lane.apply(now, ExchangeResult(slots=(0.0,)), lane.tokens_to_book(now, members=1))
    assert waiter.wanted.booking is not None
    waiter.wanted.ready_at = now
    return waiter.wanted


def test_calls_that_get_their_tokens_in_time_use_their_bookings() -> None:
    lane = make_lane(per_minute=60)
    turns = [book_turn(lane, 10.0) for _ in range(5)]
    assert all(lane.may_go(10.0 + BOOKING_TTL, turn) for turn in turns)


def test_expired_turns_go_at_the_limit() -> None:
    lane = make_lane(per_minute=60)
    turns = [book_turn(lane, float(now)) for now in range(10)]
    assert [lane.may_go(20.0, turn) for turn in turns[:3]] == [True, False, False]
    assert lane.may_go(21.0, turns[3])
    assert lane.refund_requests == 0, "turns not used in time are not refunded"


def test_each_process_sends_its_share_of_expired_turns() -> None:
    lane = make_lane(per_minute=60)
    turns = [book_turn(lane, float(now)) for now in range(10)]
    lane.tokens_to_book(19.0, members=2)
    assert [lane.may_go(20.0, turn) for turn in turns[:2]] == [True, False]
    assert [lane.may_go(21.0, turns[2]), lane.may_go(22.0, turns[3])] == [False, True]


def test_a_turn_in_a_pause_is_lost() -> None:
    lane = make_lane()
    turn = book_turn(lane, 10.0)
    lane.paused_until = 15.0
    assert not lane.may_go(10.0, turn)
    assert lane.refund_requests == 0
