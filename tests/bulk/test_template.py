"""Prompt templates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk.template import Template
from headrace.errors import InputError


def test_columns_are_replaced_by_values_of_the_row() -> None:
    template = Template("Ordne {name}: {description}")
    assert template.render({"name": "Hose", "description": "aus Wolle"}) == "Ordne Hose: aus Wolle"
    assert template.columns == ("name", "description")


def test_doubled_braces_are_braces() -> None:
    assert Template('{{"a": {a}}}').render({"a": 1}) == '{"a": 1}'


def test_values_are_json_and_null_is_an_empty_string() -> None:
    row = {"list": [1, "ä"], "none": None, "true": True, "number": 1.5}
    assert Template("{list}|{none}|{true}|{number}").render(row) == '[1,"ä"]||true|1.5'


@given(st.text())
def test_braces_in_values_are_not_replaced(value: str) -> None:
    assert Template("<{x}>").render({"x": value}) == f"<{value}>"


@pytest.mark.parametrize("text", ["{", "}", "{}", "{0.real!r}", "{x!r}", "{x:>10}", "a {b"])
def test_an_invalid_template_is_an_error_with_a_hint(text: str) -> None:
    with pytest.raises(InputError, match="prompt="):
        Template(text)


def test_attributes_and_indexes_of_values_are_rejected() -> None:
    template = Template("{x.__class__}")
    with pytest.raises(InputError, match=r"no column 'x\.__class__'"):
        template.check({"x": 1}, "rows.csv:2")


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"rows\.csv:7: no column 'nmae' .* did you mean 'name'\?"):
        Template("{nmae}").check({"name": "a", "price": "b"}, "rows.csv:7")
