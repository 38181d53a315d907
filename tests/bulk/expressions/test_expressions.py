"""The language of conditions: what it means, and that no text and no row makes it do anything else."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk.expressions import Expression
from headrace.errors import InputError

ROW = {
    "category": "Garten",
    "price": "12.50",
    "number": 3,
    "flag": True,
    "text_flag": "False",
    "missing": None,
    "tags": ["neu", 7],
    "verdict": {"score": 7, "notes": {"long": False}},
    "a.b": 1,
    "Größe in m": 2,
    "größe": "XL",
}

TRUE = [
    "category == 'Garten'",
    'category == "Garten" and price > 10',
    "price == 12.5",
    "price >= 12.50 and price <= 12.5",
    "'9' > '12'",  # texts, by their characters
    "number == 3.0",
    "number in [1, 2, 3]",
    "'3' in [number]",
    "category not in ['Sport', 'Haus']",
    "'art' in category",
    "'neu' in tags and 7 in tags",
    "flag",
    "not text_flag",
    "text_flag == false",
    "flag == true and flag != 1",
    "missing == null",
    "not missing",
    "verdict.score >= 7",
    "verdict.notes.long == false",
    "verdict.other == null",
    "nowhere == None",
    "a.b == 1",
    "`Größe in m` > 1",
    "größe == 'XL'",
    "not (number < 3 or number > 3)",
    "not number == 4",
    "number == 4 or number == 5 or number == 3",
    r"'it\'s' == \"it's\"".replace('\\"', '"'),
    "[number, 'x'] == [3, 'x']",
    "-1 < 0 and 1e3 == 1000",
]
FALSE = [
    "price > 100",
    "category > 3",  # unlike types
    "category < 3",
    "missing < 3",
    "missing >= null",
    "number == '3 Stück'",
    "number in category",
    "'x' in number",
    "flag == 1",
    "tags > 1",
    "verdict == 'x'",
]


@pytest.mark.parametrize(
    ("text", "expected"), [(each, True) for each in TRUE] + [(each, False) for each in FALSE]
)
def test_values_of_a_row_are_compared(text: str, expected: bool) -> None:
    assert Expression(text).holds(ROW) is expected


MISTAKES = {
    "": "is empty; write a condition, like category == 'garden'",
    "a = 1": "'a = 1': at '= 1' (character 3): to compare, write ==",
    "a & b": "'a & b': at '& b' (character 3): write and",
    "a == 1 b": "'a == 1 b': at 'b' (character 8): an operator is missing before this, like and, or, ==",
    "1 < a < 3": "'1 < a < 3': at '< 3' (character 7): comparisons cannot be chained; join two with and",
    "a == ": "'a == ': at its end (character 6): a name or a value is missing here; put quotes around text",
    "a == 'x": '"a == \'x": at "\'x" (character 6): this text has no end; add a quote',
    "open('x')": "\"open('x')\": at \"('x')\" (character 5): functions cannot be called",
    "(a == 1": "'(a == 1': at its end (character 8): ) is missing here",
    "a in [1, 2": "'a in [1, 2': at its end (character 11): ] is missing here",
    "a not 3": "'a not 3': at '3' (character 7): in is missing after not",
    "'x'": "\"'x'\": at \"'x'\" (character 1): this value must be compared with something",
    "a and 5": "'a and 5': at '5' (character 7): this value must be compared with something",
    "a b": "'a b': at 'b' (character 3): an operator is missing before this, like and, or, ==",
    "a; b": "'a; b': at '; b' (character 2): is not part of an expression",
    "a" * 2001: "has 2,001 characters; the most are 2,000",
}


def test_of_a_long_text_the_part_around_the_mistake_is_shown() -> None:
    text = "a == 1 and " * 20 + "b = 2" + " or c == 3" * 20
    with pytest.raises(InputError) as error:
        Expression(text)
    shown = "1 and a == 1 and a == 1 and b = 2 or c == 3 or c == 3 or c == 3 or c == 3 or c"
    assert str(error.value).startswith(f"'…{shown}")
    assert "(character 223): to compare, write ==" in str(error.value)


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_shown_with_its_place(text: str) -> None:
    with pytest.raises(InputError) as error:
        Expression(text)
    assert str(error.value) == MISTAKES[text]


@pytest.mark.parametrize("text", ["(" * 31 + "a" + ")" * 31, "not " * 31 + "a"])
def test_depth_is_bounded(text: str) -> None:
    with pytest.raises(InputError, match="more than 30 levels of brackets; write it flatter"):
        Expression(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("category", "category is text here, not true or false; compare it, like category == …"),
        ("flag and number", "number is a number here, not true or false; compare it, like number == …"),
        ("not tags", "tags is a list here, not true or false; compare it, like tags == …"),
        ("(verdict)", "verdict is an object here, not true or false; compare it, like verdict == …"),
    ],
)
def test_a_value_that_is_no_condition_is_an_error_of_its_row(text: str, reason: str) -> None:
    with pytest.raises(InputError) as error:
        Expression(text).holds(ROW)
    assert str(error.value) == reason


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
WORDS = [
    "a",
    "b.c",
    "not",
    "and",
    "or",
    "in",
    "(",
    ")",
    "[",
    "]",
    ",",
    "==",
    "<",
    "'x'",
    "1",
    "true",
    "`d e`",
    "=",
]
TEXTS = st.text(max_size=30) | st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@given(TEXTS, st.dictionaries(st.sampled_from(["a", "b", "b.c", "d e"]), VALUES))
def test_any_text_is_true_false_or_a_mistake(text: str, row: dict[str, Any]) -> None:
    try:
        found = Expression(text).holds(row)
    except InputError:
        return
    assert found in (True, False)


NUMBERS = {"a": 2, "b": -1.5, "c": 2.0}
OPERATORS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt}
COMPARISONS = st.tuples(
    st.sampled_from(sorted(NUMBERS)), st.sampled_from([*OPERATORS]), st.integers(-2, 2)
).map(lambda parts: (f"{parts[0]} {parts[1]} {parts[2]}", OPERATORS[parts[1]](NUMBERS[parts[0]], parts[2])))


def _joined(inner: st.SearchStrategy[tuple[str, bool]]) -> st.SearchStrategy[tuple[str, bool]]:
    """Expressions of smaller ones, each with the value that Python's own operators give it."""
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda two: (f"({two[0][0]}) and {two[1][0]}", two[0][1] and two[1][1])),
        pairs.map(lambda two: (f"({two[0][0]} or ({two[1][0]}))", two[0][1] or two[1][1])),
        inner.map(lambda one: (f"not ({one[0]})", not one[1])),
    )


@given(st.recursive(COMPARISONS, _joined, max_leaves=8))
def test_and_or_and_not_agree_with_those_of_python(case: tuple[str, bool]) -> None:
    text, expected = case
    assert Expression(text).holds(NUMBERS) is expected
    assert Expression(text).holds(NUMBERS) is bool(eval(text, {}, dict(NUMBERS)))
