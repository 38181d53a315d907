"""How answers are distributed."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk.report.answers import AnswerDistribution, Distribution
from headrace.bulk.report.page import filters_of


def views_of(answers: list[Any], *, fixed: bool = False) -> list[Distribution]:
    distribution = AnswerDistribution()
    for answer in answers:
        distribution.add(answer, fixed=fixed)
    return distribution.views()


def test_choices_are_counted_even_if_there_are_few_rows() -> None:
    [found] = views_of(["a", "b", "a"], fixed=True)
    assert (found.member, found.counts, found.values) == (None, [("a", 2), ("b", 1)], ["a", "b"])


def test_texts_have_classes_of_lengths() -> None:
    [found] = views_of(["", "x", "xy", "x" * 150, "y" * 150, "z" * 900])
    assert found.unit == "characters"
    assert found.counts == [("0", 1), ("1", 1), ("2", 1), ("101 to 200", 2), ("501 to 1,000", 1)]


def test_repeated_short_texts_are_values() -> None:
    assert views_of(["yes", "no"] * 5)[0].counts == [("yes", 5), ("no", 5)]
    assert views_of([f"{number}" for number in range(60)] * 5)[0].unit == "characters"


def test_members_have_their_own_tables() -> None:
    answers = [
        {"kind": "ab"[n % 2], "ok": n % 2 == 0, "one": 1, "n": n, "tags": ["x"] * (n % 3), "in": {"a": n}}
        for n in range(100)
    ]
    found = {each.member: each for each in views_of(answers)}
    assert list(found) == ["kind", "ok", "one", "n", "tags"]
    assert found["ok"].counts == [("true", 50), ("false", 50)]
    assert found["ok"].values == [True, False]
    assert found["n"].note == "100 numbers from 0 to 99, mean 49.5."
    assert found["tags"].counts == [("0", 34), ("1", 33), ("2", 33)]
    assert filters_of(found["ok"]) == [('["ok", true]', "true"), ('["ok", false]', "false")]


def test_vectors_are_counted_with_their_lengths() -> None:
    distribution = AnswerDistribution()
    for _ in range(1200):
        distribution.add_vector(256)
    [found] = distribution.views()
    assert (found.unit, found.note, found.counts) == ("vectors", "1,200 vectors of 256 numbers.", [])
    distribution.add_vector(3)
    distribution.add_vector(1536)
    assert distribution.views()[0].note == "1,202 vectors of 3 to 1,536 numbers."


def test_true_is_not_one() -> None:
    [found] = views_of([{"a": True}, {"a": 1}, {"a": 1}, {"a": 1.0}] * 3)
    assert sorted(found.counts) == [("1", 6), ("1.0", 3), ("true", 3)]


def test_many_members_and_values_take_constant_memory() -> None:
    distribution = AnswerDistribution()
    for number in range(500):
        distribution.add({f"m{number}": number, "same": f"{number}"}, fixed=False)
    assert len(distribution.views()) <= 30


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(values, max_size=30), st.booleans())
def test_any_answers_are_counted_once(answers: list[Any], fixed: bool) -> None:
    texts = [answer for answer in answers if not isinstance(answer, dict)]
    for found in views_of(answers, fixed=fixed):
        assert len(found.values) in (0, len(found.counts))
        if found.member is None and found.unit == "value" and not found.note:
            assert sum(count for _, count in found.counts) == len(texts)
            assert Counter(map(type, found.values)).keys() <= Counter(map(type, texts)).keys()
