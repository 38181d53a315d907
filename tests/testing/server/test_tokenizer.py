"""The endpoint's tokenizer."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.testing.server.tokenizer import count_tokens, first_tokens, split_tokens


def test_tokens_have_at_most_four_characters() -> None:
    assert split_tokens("Gartenschlauch") == ["Gart", "ensc", "hlau", "ch"]
    assert split_tokens("Hello, world!") == ["Hell", "o", ",", " worl", "d", "!"]
    assert count_tokens("") == count_tokens(" \n") == 0


@given(st.text())
def test_joined_tokens_are_the_text(text: str) -> None:
    assert "".join(split_tokens(text)) == text


@given(st.text(), st.integers(min_value=1, max_value=20))
def test_first_tokens_are_a_prefix_within_the_limit(text: str, limit: int) -> None:
    cut = first_tokens(text, limit)
    assert text.startswith(cut)
    assert count_tokens(cut) == min(limit, count_tokens(text))
