"""JSON that is not strict, and JSON surrounded by other text."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, Literal

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import AnswerError
from headrace._support.lenient_json import NOT_JSON, decode_json, decode_leniently
from headrace.wire.choice_matching import match_choice
from headrace.wire.json_in_text import json_objects
from headrace.wire.structured_output import response_format_for

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(VALUES)
def test_both_decoders_read_valid_json_alike(value: Any) -> None:
    content = msgspec.json.encode(value)
    assert decode_json(content) == decode_leniently(content) == value


@given(st.binary())
def test_any_bytes_are_decoded_or_raise_not_json(content: bytes) -> None:
    try:
        value = decode_json(content)
    except NOT_JSON:
        return
    msgspec.json.encode(value)


@given(st.text().map(lambda text: json.dumps(text)))
def test_any_escapes_give_a_string_that_can_be_encoded(content: str) -> None:
    decode_json(content.encode()).encode()


@attrs.frozen
class Product:
    name: str
    price: float = 0.0


HOSE = Product("Hose", 5.0)
WRITTEN = '{"name": "Hose", "price": 5}'


@pytest.mark.parametrize(
    "text",
    [
        WRITTEN,
        f"\ufeff{WRITTEN}",
        f"  \n{WRITTEN}\n",
        f"```json\n{WRITTEN}\n```",
        f"```\n{WRITTEN}```",
        f"Here is the product:\n\n```json\n{WRITTEN}\n```\n\nTell me if you need more.",
        f"The product is {WRITTEN}. Done.",
        f"Thinking aloud.</think>\n{WRITTEN}",
        f"In {{braces}} I say: {WRITTEN}",
        f"{WRITTEN}\n{WRITTEN}",
    ],
)
def test_the_one_object_is_found(text: str) -> None:
    assert response_format_for(Product).parse(text) == HOSE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hose",
        "[]",
        '{"name": "Hose"',
        '{"products": [{"name": "Hose"}, {"name": "Saw"}',
        '{\'products\': {"name": "Hose"}}',
        f'{WRITTEN} or {{"name": "Saw"}}',
    ],
)
def test_parts_and_several_objects_are_not_the_answer(text: str) -> None:
    with pytest.raises(AnswerError):
        response_format_for(Product).parse(text)


class Section(StrEnum):
    GARDEN = "Garten"
    HOUSE = "Haushalt"


@pytest.mark.parametrize("kind", [Literal["Garten", "Haushalt"], Section])
@pytest.mark.parametrize(
    "text",
    [
        '{"answer": "Garten"}',
        "Garten",
        "garten.",
        "**Garten**",
        "Kategorie: Garten",
        'I choose "Garten".',
        '```json\n{"answer": "Garten"}\n```',
        "Hm.</think>Garten",
        '"Garten"',
        "```\nGarten\n```",
    ],
)
def test_the_one_choice_is_found(kind: Any, text: str) -> None:
    assert response_format_for(kind).parse(text) == "Garten"


@pytest.mark.parametrize(
    "text", ["It is not Garten", "Garten or Haushalt", "**Garten** or **Haushalt**", "", "Gartn"]
)
def test_a_choice_that_may_be_negated_does_not_count(text: str) -> None:
    assert match_choice(["Garten", "Haushalt"], text) is None
    with pytest.raises(AnswerError):
        response_format_for(Section).parse(text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (list[str], '["a", "b"]', ["a", "b"]),
        (list[str], 'Sure:\n```json\n["a", "b"]\n```', ["a", "b"]),
        (int, "5", 5),
        (bool, "```\ntrue\n```", True),
    ],
)
def test_a_single_value_is_accepted_without_its_object(kind: Any, text: str, value: Any) -> None:
    assert response_format_for(kind).parse(text) == value


@given(st.text(st.sampled_from('{}"[]:,\\ a1')))
def test_objects_are_found_in_order_in_any_text(text: str) -> None:
    found = [each.decode() for each in json_objects(text)]
    at = 0
    for each in found:
        assert isinstance(json.loads(each, strict=False), dict)
        at = text.index(each, at) + len(each)


def test_many_braces_take_linear_time() -> None:
    assert list(json_objects("{" * 1_000_000)) == []
    assert next(iter(json_objects("{} " * 1_000))) == b"{}"
