"""The comparison of two runs: at each moment it is what two whole reads would give."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace_view.index import (
    SHOWN,
    IndexBuilder,
    IndexPlace,
    Pairs,
    RowQuery,
    compare,
    find_pairs,
    open_for_reading,
)
from headrace_view.index import comparison as comparison_module
from headrace_view.index import pair_search as search_module
from headrace_view.index import pairs as pairs_module
from headrace_view.runs import Runs
from headrace_view.web.comparing import OpenComparisons
from view_lines import encode, make_line, write_output

LINES = st.lists(
    st.builds(
        make_line,
        st.just(0),
        st.sampled_from([f"row {n}" for n in range(12)]),
        st.sampled_from(["yes", "no", "yes and no"]),
        code=st.sampled_from([None, None, None, "timeout"]),
        message=st.sampled_from(["no luck", "gone"]),
    ),
    max_size=12,
)
STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([*["append"] * 3, "replace"]), LINES), max_size=5
)
PAGE = 3
SEARCHES = ["", "yes", "no luck", '"row 3"', "nothing"]


def kind_of(one: dict[str, Any], other: dict[str, Any]) -> str:
    """How two lines of an item compare, without an index."""
    if failed := (one["error"] is not None) + (other["error"] is not None):
        return ("failed", "failed in both")[failed - 1]
    return "same" if text_of(one) == text_of(other) else "different"


def text_of(line: dict[str, Any]) -> str:
    return str(line["response"]["body"]["choices"][0]["message"]["content"])


def is_found(line: dict[str, Any], search: str) -> bool:
    """Whether a line has all words of a search."""
    message = "" if line["error"] is None else line["error"]["message"]
    text = f"{line['custom_id']}\n{text_of(line)}\n{message}"
    return all(word in text for word in ([search.strip('"')] if '"' in search else search.split()))


def last_lines(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of each item, in the order of these lines."""
    found: dict[str, dict[str, Any]] = {}
    for line in map(json.loads, path.read_bytes().splitlines()):
        found.pop(line["custom_id"], None)
        found[line["custom_id"]] = line
    return found


class Compared:
    """Two growing outputs with their indexes and pairs, as the page has them."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self.paths = [folder / "a.jsonl", folder / "b.jsonl"]
        self.builders = []
        self.pairs: dict[tuple[Path, ...], Pairs] = {}
        for path in self.paths:
            path.touch()
            place = opened.enter_context(IndexPlace(path))
            self.builders.append(IndexBuilder(path, place))
            opened.callback(self.builders[-1].close)

    def change(self, run: int, how: str, lines: list[dict[str, Any]]) -> None:
        content = self.paths[run].read_bytes() if how == "append" else b""
        self.paths[run].write_bytes(content + encode(lines))
        for builder in self.builders:
            while builder.step():
                pass

    def check(self) -> None:
        """Compare counts and all pages with whole reads."""
        first, second = map(last_lines, self.paths)
        both = {id: (line, second[id]) for id, line in first.items() if id in second}
        kinds = {id: kind_of(*lines) for id, lines in both.items()}
        indexes = tuple(builder.place.database for builder in self.builders)
        pairs = self.pairs.setdefault(indexes, Pairs())
        with open_for_reading(*indexes) as connection:
            for shown in SHOWN:
                for search in SEARCHES:
                    wanted = [id for id in both if shown in ("all", kinds[id])]
                    wanted = [id for id in wanted if any(is_found(line, search) for line in both[id])]
                    pages = [
                        find_pairs(connection, pairs, shown, page, RowQuery(search=search).match)
                        for page in range(len(wanted) // PAGE + 1)
                    ]
                    found = [pair for page in pages for pair in page]
                    assert [one.id for one, _ in found] == wanted
                    assert [(one.answer, other.answer) for one, other in found] == [
                        (text_of(one), text_of(other)) for one, other in map(both.__getitem__, wanted)
                    ]
            counted = compare(connection, pairs)
        numbers = list(kinds.values())
        assert counted.both == len(both)
        assert (counted.different, counted.same) == (numbers.count("different"), numbers.count("same"))
        assert (counted.failed_in_one, counted.failed_in_both) == (
            numbers.count("failed"),
            numbers.count("failed in both"),
        )
        assert (counted.only_first, counted.only_second) == (len(first) - len(both), len(second) - len(both))


OLD, NEW = [make_line(0, answer="yes")], [make_line(0, answer="no")]


@settings(deadline=None, max_examples=15)
@example([(0, "append", NEW), (1, "append", OLD), (1, "append", NEW)], 1000)
@example([(0, "append", OLD), (1, "append", NEW), (0, "append", NEW)], 1000)
@given(STEPS, st.sampled_from([1, 3, 1000]))
def test_a_comparison_is_what_two_whole_reads_give(
    steps: list[tuple[int, str, list[dict[str, Any]]]], few: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        ExitStack() as opened,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(comparison_module, "PAGE", PAGE)
        for module, name in (
            (comparison_module, "_FIRST"),
            (comparison_module, "_TRIED"),
            (comparison_module, "_BLOCK"),
            (pairs_module, "_MANY"),
            (search_module, "_MANY"),
        ):
            patch.setattr(module, name, few)
        compared = Compared(Path(folder), opened)
        for run, how, lines in steps:
            compared.change(run, how, lines)
            compared.check()


def test_an_error_between_leaves_no_pair_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as opened:
        compared = Compared(tmp_path, opened)
        compared.change(0, "append", [make_line(n) for n in range(4)])
        compared.change(1, "append", [make_line(n) for n in range(4)])
        compared.check()
        compared.change(0, "append", [make_line(n) for n in range(3, 6)])
        compared.change(1, "append", [make_line(n) for n in range(1, 6)])
        (pairs,) = compared.pairs.values()
        joins, join = [], pairs._join

        def fail_once(connection: sqlite3.Connection, query: str, values: Sequence[int]) -> None:
            joins.append(query)
            if len(joins) == 2:
                raise OSError("the disk does not answer")
            join(connection, query, values)

        monkeypatch.setattr(pairs, "_join", fail_once)
        with pytest.raises(OSError, match="does not answer"):
            compared.check()
        compared.check()
        assert len(joins) == 4


def test_the_pairs_of_few_comparisons_are_kept(tmp_path: Path) -> None:
    runs = Runs([write_output(tmp_path / f"{n}.jsonl", [make_line(n)]) for n in range(5)])
    first, *others = [run for n in range(5) if (run := runs.get(n))]
    comparisons = OpenComparisons()
    opened = []
    for other in [*others, others[-1]]:
        with comparisons.open(first, other) as (connection, pairs):
            assert compare(connection, pairs).only_first == 1
            opened.append(pairs)
    assert opened[-1] is opened[-2]
    with comparisons.open(first, others[0]) as (_, pairs):
        assert pairs is not opened[0]  # it was left out for later ones
    runs.close()
