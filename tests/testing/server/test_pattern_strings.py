"""Strings that match a pattern."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.testing.server.pattern_strings import matching_string

PATTERNS = [
    *(
        "",
        "a",
        "^$",
        "^abc$",
        "a|b|",
        "^(a|b)c$",
        "^(?:x)+y?$",
        r"^\d{4}-\d{2}$",
        "^[^a-z]$",
        "^[]a]$",
        "^[a-]$",
    ),
    *(
        r"^[\w.-]+@[\w-]+\.[a-z]{2,}$",
        r"^\x41\u0042\.$",
        "^a{2,}b{,3}$",
        "^a{0}$",
        r"^\S\s\W\D$",
        r"^a+?b*?$",
    ),
    *(r"^(?P<n>a)$", r"^(?!b)[ab]$", r"^.(?<=a)$", r"\bword\b", r"^[+-]?0*\d*\.?\d*$", "^[äöü]{3}$", "^a.c$"),
    *("^(?=.*[A-Z])(?=.*[0-9]).{8,}$", "^(?!^[-+.]*$)[+-]?0*[0-9]*[.]?[0-9]*$", "^((a|b)(c|d))*$"),
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_string_matches_its_pattern(pattern: str) -> None:
    for variant in range(3):
        found = matching_string(pattern, variant=variant)
        assert found is not None
        assert re.search(pattern, found)


@pytest.mark.parametrize(
    "pattern", ["(", ")", "[a", "a{2", "*", r"(a)\1", "(?i:a)", "(?>a)", r"^\Qa$", "[z-a]", r"[\d-a]"]
)
def test_other_patterns_have_a_matching_string_or_none(pattern: str) -> None:
    found = matching_string(pattern)
    assert found is None or re.search(pattern, found)


def test_a_pattern_that_matches_nothing_has_no_string() -> None:
    assert matching_string("^[a-z]{3}$", least=4) is None
    assert matching_string("^[a-z]{3}$", most=2) is None
    assert matching_string("a^b") is None


parts = st.recursive(
    st.sampled_from(["a", "b", ".", r"\d", r"\w", "[a-f]", "[^a]", r"\."]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])).map(
            "({0[0]}){0[1]}".format
        ),
    ),
    max_leaves=6,
)


@given(parts, st.integers(0, 6), st.integers(0, 3))
def test_a_string_matches_any_pattern_and_has_its_length(pattern: str, least: int, variant: int) -> None:
    found = matching_string(f"^{pattern}$", least=least, variant=variant)
    assert matching_string(f"^{pattern}$") is not None
    if found is not None:
        assert re.search(f"^{pattern}$", found)
        assert len(found) >= least
