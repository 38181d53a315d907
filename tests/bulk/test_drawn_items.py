"""Items that were drawn and not finished, some of which their executor keeps elsewhere."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.bulk import DrawnItems, WorkItem
from headrace.errors import InputError


@settings(deadline=None)
@given(moves=st.lists(st.tuples(st.sampled_from(["draw", "park", "unpark", "finish"]), st.integers(0, 30))))
def test_no_unfinished_item_is_before_the_first_one(moves: list[tuple[str, int]]) -> None:
    drawn, here, parked, drew, was_parked = DrawnItems(), dict[int, WorkItem](), set[int](), 0, False
    for move, number in moves:
        if move == "draw":
            drawn[drew] = here[drew] = WorkItem(drew, f"r{drew}", InputError("no"))
            drew += 1
            continue
        chosen = sorted(parked if move == "unpark" else here)
        if not chosen:
            continue
        index = chosen[number % len(chosen)]
        if move == "unpark":
            parked.remove(index)
            here[index] = WorkItem(index, f"r{index}", InputError("no"))
            drawn.unpark(here[index])
            continue
        item = here.pop(index)
        if move == "park":
            was_parked = True
            parked.add(index)
            drawn.park(item)
        else:
            del drawn[index]
        unfinished = sorted(parked | set(here))
        if not unfinished:
            was_parked = False
        first = None if drawn.first is None else drawn.first.index
        assert sorted(drawn) == sorted(here)
        if was_parked:
            assert first is not None
            assert first <= unfinished[0]
        else:
            assert first == (unfinished[0] if unfinished else None)
