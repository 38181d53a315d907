"""The index: whatever happens to the output, it holds what a whole read of it would give."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_view.index import IndexBuilder, IndexPlace, RowQuery, find_rows, line_of, open_for_reading
from headrace_view.index.counted_row import CountedRow
from headrace_view.index.totals import BucketCounts, Totals, merged
from view_lines import encode, index_whole, make_line, write_output

IDS = ["a", "b", "c", "d", "\u202egp.exe", "x" * 3000, "../../etc", "</script>"]
LINES = st.builds(
    make_line,
    st.integers(0, 20),
    st.sampled_from(IDS),
    st.sampled_from(["yes", "no", "a long text\nwith lines " * 9, {"score": 1}]),
    code=st.sampled_from([None, None, "timeout", "answer_error"]),
    status=st.sampled_from([200, 429, None]),
    reason=st.sampled_from(["stop", "length"]),
    elapsed=st.sampled_from([0.0, 0.25, 3.5]),
    cost=st.sampled_from(["0.1", "0.25", None]),
    attempts=st.integers(0, 3),
)
ACTIONS = st.one_of(
    st.tuples(st.just("append"), st.lists(LINES, max_size=4)),
    st.tuples(st.just("tear"), st.integers(1, 40)),
    st.tuples(st.just("mend"), st.none()),
    st.tuples(st.just("damage"), st.just(b'{"id": 3}\n')),
    st.tuples(st.just("cut"), st.integers(0, 4)),
    st.tuples(st.just("replace"), st.lists(LINES, max_size=4)),
    st.tuples(st.just("look"), st.none()),
    st.tuples(st.just("restart"), st.none()),
)


def whole_read(path: Path) -> tuple[dict[str, Any], int]:
    """The last line of each id, and the number of damaged lines, of a file without an index."""
    found: dict[str, Any] = {}
    damaged = 0
    for raw in path.read_bytes().split(b"\n")[:-1]:
        line = json.loads(raw)
        if "custom_id" in line:
            found.pop(line["custom_id"], None)
            found[line["custom_id"]] = line
        else:
            damaged += 1
    return found, damaged


class Follower:
    """An index of a file, which may be closed and opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        self.place = IndexPlace(self.path)
        self.builder = IndexBuilder(self.path, self.place)

    def close(self) -> None:
        self.builder.close()
        self.place.close()

    def act(self, action: str, given: Any) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if action in ("append", "damage"):
            added = encode(given) if action == "append" else given
            self.path.write_bytes(whole + added)  # a run removes a torn line before it goes on
        elif action == "tear":
            self.path.write_bytes(whole + encode([make_line(99)])[:given])
        elif action == "mend":
            self.path.write_bytes(whole)
        elif action == "cut":
            self.path.write_bytes(b"".join(whole.splitlines(keepends=True)[:given]))
        elif action == "replace":
            fresh = self.path.with_name("fresh")
            fresh.write_bytes(encode(given))
            os.replace(fresh, self.path)
        elif action == "restart":
            self.close()
            self.open()
        else:
            self.builder.step()


@settings(deadline=None, max_examples=20)
@given(st.lists(ACTIONS, max_size=10))
def test_the_index_is_what_a_whole_read_gives(actions: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.jsonl")
        path.touch()
        follower = Follower(path)
        for action, given in actions:
            follower.act(action, given)
        while follower.builder.step():
            pass
        expected, damaged = whole_read(path)
        with open_for_reading(follower.place.database) as connection:
            rows = find_rows(connection, RowQuery())
            lines = [line_of(connection, path, row.row) for row in rows]
        assert [line.custom_id for line in lines if line] == list(expected)
        totals = follower.builder.totals
        other = write_output(Path(folder, "other.jsonl"), expected.values())
        fresh, place = index_whole(other)
        assert msgspec.structs.replace(totals, damaged=0) == fresh.totals
        assert totals.damaged == damaged
        fresh.close()
        place.close()
        follower.close()


def test_an_index_is_continued_and_not_made_again(tmp_path: Path) -> None:
    out = write_output(tmp_path / "out.jsonl", map(make_line, range(10)))
    builder, place = index_whole(out)
    builder.close()
    place.close()
    with out.open("ab") as file:
        file.write(encode([make_line(10)]))
    again = IndexBuilder(out, place := IndexPlace(out))
    assert again.step()
    assert (again.totals.rows, again.version) == (11, 1)
    assert not again.step()
    again.close()
    place.close()


def test_a_row_has_the_number_of_no_row_of_the_output_before(tmp_path: Path) -> None:
    out = write_output(tmp_path / "out.jsonl", map(make_line, range(10)))
    builder, place = index_whole(out)
    for lines in ([make_line(n) for n in range(5, 10)], []):  # as retry-failed and --fresh leave it
        before = set(numbers_of(place))
        write_output(out, lines)
        while builder.step():
            pass
        assert len(numbers_of(place)) == len(lines)
        assert before.isdisjoint(numbers_of(place))
        with open_for_reading(place.database) as connection:
            assert [line_of(connection, out, row) for row in before] == [None] * len(before)
    builder.close()
    place.close()


def numbers_of(place: IndexPlace) -> list[int]:
    with open_for_reading(place.database) as connection:
        return [row.row for row in find_rows(connection, RowQuery())]


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + bytes(200)])
def test_a_damaged_index_is_made_again(tmp_path: Path, content: bytes) -> None:
    out = write_output(tmp_path / "out.jsonl", map(make_line, range(3)))
    place = IndexPlace(out)
    place.database.write_bytes(content)
    builder = IndexBuilder(out, place)
    while builder.step():
        pass
    assert (builder.totals.rows, builder.error) == (3, "")
    builder.close()
    place.close()


def test_the_index_is_beside_the_output_and_private(tmp_path: Path) -> None:
    out = write_output(tmp_path / "out.jsonl", [make_line(1)])
    builder, place = index_whole(out)
    assert place.folder == tmp_path / ".out.jsonl.view"
    assert place.folder.stat().st_mode & 0o777 == 0o700
    with IndexPlace(out) as second:  # as of another process: the folder is locked
        assert second.folder != place.folder
    builder.close()
    place.close()


def test_an_output_in_a_folder_that_cannot_be_written_has_its_index_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = write_output(tmp_path / "out.jsonl", [make_line(1)])
    (tmp_path / ".out.jsonl.view").touch()  # a file, so that no folder can be made
    builder, place = index_whole(out)
    assert place.folder.is_relative_to(tmp_path / "cache")
    assert builder.totals.rows == 1
    builder.close()
    place.close()


def test_a_line_that_is_longer_than_a_read_is_read_whole(tmp_path: Path) -> None:
    out = write_output(tmp_path / "out.jsonl", [make_line(0, answer="a" * 5_000_000), make_line(1)])
    with out.open("ab") as file:
        file.write(b'{"torn": "' + b"x" * 5_000_000)
    builder, place = index_whole(out)
    assert (builder.totals.rows, builder.totals.damaged, builder.is_whole) == (2, 0, True)
    assert builder.size - builder.indexed == 5_000_010
    builder.close()
    place.close()


def test_an_output_that_is_gone_is_named(tmp_path: Path) -> None:
    out = write_output(tmp_path / "out.jsonl", [make_line(1)])
    builder, place = index_whole(out)
    out.unlink()
    assert not builder.step()
    assert builder.error == "the output cannot be read: No such file or directory"
    with open_for_reading(place.database) as connection:
        assert line_of(connection, out, 1) is None
    builder.close()
    place.close()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write_output(tmp_path / "out.jsonl", [make_line(1)])
    place = IndexPlace(out)

    def fail(path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("headrace_view.index.builder.open_for_building", fail)
    builder = IndexBuilder(out, place)
    assert not builder.step()
    assert builder.error.startswith("the index cannot be written: database or disk is full; free some space")
    place.close()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**9)), max_size=50))
def test_taking_out_what_was_added_leaves_nothing(rows: list[tuple[int, int]]) -> None:
    totals = Totals()
    counted = [
        CountedRow(bool(n % 2), 200, "timeout", "stop", "yes", elapsed, n, 2, 3, 4, done * 1000)
        for n, (done, elapsed) in enumerate(rows)
    ]
    for row in counted:
        totals.add(row)
    assert sum(each.succeeded + each.failed for each in totals.buckets.values()) == len(rows)
    for row in counted:
        totals.add(row, -1)
    assert totals == Totals(width=totals.width)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 2)), max_size=50))
def test_the_totals_of_several_runs_are_those_of_all_their_rows(rows: list[tuple[int, int]]) -> None:
    whole, parts = Totals(), [Totals(), Totals(), Totals(width=60)]
    for n, (done, part) in enumerate(rows):
        row = CountedRow(bool(n % 2), 200, "timeout", "stop", "yes", n, n, 2, 3, 4, done * 1000)
        whole.add(row)
        parts[part].add(row)
    together = Totals.of_all(parts)
    assert together.width == 60
    assert together.buckets == merged(whole.buckets, 60)
    together.buckets, together.width = whole.buckets, whole.width
    assert together == whole


def test_runs_of_far_apart_times_have_few_buckets_together() -> None:
    parts = [Totals(buckets={n: BucketCounts(1) for n in range(at, at + 500)}) for at in (0, 10**6)]
    together = Totals.of_all(parts)
    assert together.width == 5
    assert sum(each.succeeded for each in together.buckets.values()) == 1000


def test_counts_over_time_are_in_few_buckets() -> None:
    totals = Totals()
    for second in range(2000):
        totals.add(
            CountedRow(second % 10 == 0, 200, "timeout", "", None, 10**6, 10**12, 1, 0, 0, second * 1000)
        )
    assert totals.width == 5
    buckets = totals.over_time(50)
    assert {bucket.width for bucket in buckets} == {60.0}
    assert sum(bucket.succeeded for bucket in buckets) == 1800
    assert sum(bucket.by_code["timeout"] for bucket in buckets) == 200
    assert sum(bucket.cost for bucket in buckets) == 2000
    assert buckets[0].latency_p50 == pytest.approx(1, rel=0.05)
    assert totals.percentile(95) == pytest.approx(1, rel=0.02)


def test_a_pause_makes_no_wider_buckets() -> None:
    totals = Totals()
    for second in (*range(100), *range(10**6, 10**6 + 100)):
        totals.add(CountedRow(False, 200, "", "", None, 1, None, 1, 0, 0, second * 1000))
    assert totals.active_seconds == 199
    assert {bucket.width for bucket in totals.over_time(120)} == {5.0}
    slow = Totals()
    for hour in range(100):  # an item an hour is slow, and no pause
        slow.add(CountedRow(False, 200, "", "", None, 1, None, 1, 0, 0, hour * 3_600_000))
    assert {bucket.width for bucket in slow.over_time(120)} == {3600.0}


def test_merged_buckets_keep_their_sums() -> None:
    one = {n: BucketCounts(n, 1, 10, {"a": 1}, {n % 3: 2}) for n in range(10)}
    (half, other) = merged(one, 5).values()
    assert half.succeeded + other.succeeded == 45
    assert (half.codes, half.latencies) == ({"a": 5}, {0: 4, 1: 4, 2: 2})
