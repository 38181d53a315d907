"""Text in messages: foreign text is escaped and bounded, whatever it holds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._support.text import listed, nearest, quoted

ANY = st.text() | st.text("\x1b[31m\r\n\t\x00\u202e\u2028\x9b'\"")


@settings(deadline=None)
@given(ANY, st.integers(0, 100))
def test_quoted_text_is_printable_and_bounded(text: str, times: int) -> None:
    shown = quoted(text * times)
    assert shown.isprintable()
    assert len(shown) <= 10 * 80 + 3
    if text.isprintable() and len(text * times) <= 80:
        assert eval(shown) == text * times


def test_text_that_is_cut_ends_with_an_ellipsis() -> None:
    assert quoted("x" * 80) == repr("x" * 80)
    assert quoted("x" * 81) == repr("x" * 80) + "…"
    assert quoted(7) == "'7'"


@settings(deadline=None)
@given(ANY, st.lists(ANY))
def test_a_suggestion_is_printable_and_bounded(name: str, known: list[str]) -> None:
    for names in (known, [*known, *(f"{each}{number}" for each in known for number in range(50))]):
        suggestion = nearest(name, names)
        assert suggestion.isprintable()
        assert len(suggestion) < 1200


@pytest.mark.parametrize(
    "known", [["x" * 10**6], ["\x1b[31m" * 10**5, "a"], [f"{n}" * 50 for n in range(10**4)]]
)
def test_a_suggestion_from_long_or_many_names_is_bounded(known: list[str]) -> None:
    for name in ("zzz", "x" * 10**6):
        suggestion = nearest(name, known)
        assert suggestion.isprintable()
        assert len(suggestion) < 1200


def test_names_that_do_not_fit_are_counted() -> None:
    names = [f"column{number:05}" for number in range(100_000)]
    text = listed(names)
    shown = re.fullmatch(r"((?:column\d{5}, )+column\d{5}) and ([\d,]+) more", text)
    assert shown is not None
    assert len(shown[1].split(", ")) + int(shown[2].replace(",", "")) == 100_000
    assert listed(names[:3]) == "column00000, column00001, column00002"
    assert listed([]) == ""
    assert listed(["a", "", " \n"]) == "a, '', ' \\n'"
