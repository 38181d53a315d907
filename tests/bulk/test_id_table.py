"""A table of ids is a dict from strings to bytes of one size."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk.id_table import IdTable

KEY = 8


@given(st.lists(st.tuples(st.text(max_size=2), st.none() | st.binary(min_size=3, max_size=3))))
def test_it_behaves_like_a_dict(entries: list[tuple[str, bytes | None]]) -> None:
    table, expected = IdTable(3), dict[str, bytes]()
    for id, value in entries:
        if value is None:
            assert table.pop(id) == expected.pop(id, None)
        else:
            assert table.set(id, value) == (id not in expected)
            expected[id] = value
    assert {id: table.get(id) for id in expected} == expected
    assert len(table) == len(expected)
    assert table.get("not in the table") is None


def test_a_key_that_crosses_two_entries_is_not_found() -> None:
    table = IdTable(4)
    present = "present"
    table.set(present, b"\0" * 4)
    bucket = next(bucket for bucket in table._buckets if bucket)
    hashed = hash("absent")
    key = hashed.to_bytes(KEY, "little", signed=True)
    bucket[:] = b"\1" * 4 + key + b"\1" * 12  # two entries, with the key across their border
    assert table._find(bucket, key) == -1
    bucket += key + b"\2" * 4
    assert table._find(bucket, key) == 24


def test_a_hundred_thousand_ids_take_little_memory() -> None:
    table = IdTable(0)
    for number in range(100_000):
        table.set(f"id-{number}", b"")
    assert sum(sys.getsizeof(bucket) for bucket in table._buckets) < 2_500_000
    assert len(table) == 100_000
