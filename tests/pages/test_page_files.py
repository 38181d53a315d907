"""Text in pages: what could hide something is shown by its number."""

from __future__ import annotations

import unicodedata

import pytest
from markupsafe import Markup

from headrace.pages import page_templates

SHOWN_AS_NUMBERS = [
    character
    for character in map(chr, range(0x110000))
    if (unicodedata.category(character) == "Cc" and character not in "\n\t")
    or unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    or character in "\u061c\u200b\u200e\u200f\u2028\u2029\u2060\ufeff\U000e0001\U000e007f"
]


def rendered(text: object) -> str:
    return page_templates("headrace.pages").from_string("{{ text }}").render(text=text)


def test_characters_that_hide_something_are_shown_by_their_numbers() -> None:
    numbers = [f"U+{ord(character):04X}" for character in SHOWN_AS_NUMBERS]
    assert rendered("x".join(SHOWN_AS_NUMBERS)) == "x".join(numbers)


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "a\tb\nc\r\nd",
        "שלום",
        "क्षि",
        "\N{WOMAN}\u200d\N{PERSONAL COMPUTER}",
        7,
        Markup("<b>\u202e</b>"),
    ],
)
def test_other_text_stays(text: object) -> None:
    assert rendered(text) == str(text)


def test_text_is_escaped() -> None:
    assert rendered("<b>\u202e") == "&lt;b&gt;U+202E"
