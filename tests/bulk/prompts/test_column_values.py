"""Values of parameters from columns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk.prompts.column_values import ColumnValue, column_of, constant
from headrace.errors import InputError
from headrace.wire.parameters import CHAT_PARAMETERS, json_types


def read(parameter: str, value: Any) -> Any:
    column = ColumnValue("c", f"the parameter {parameter}", json_types(parameter))
    return column.read({"c": value})


@pytest.mark.parametrize(
    ("parameter", "value", "found"),
    [
        ("temperature", "0.3", 0.3),
        ("temperature", "1", 1),
        ("temperature", 0.3, 0.3),
        ("temperature", "", None),
        ("temperature", "  ", None),
        ("temperature", None, None),
        ("max_tokens", "20", 20),
        ("max_tokens", 20.0, 20),
        ("max_tokens", "20.0", 20),
        ("user", "123", "123"),
        ("user", 123, "123"),
        ("user", "true", "true"),
        ("user", '"a"', '"a"'),
        ("reasoning_effort", "low", "low"),
        ("logprobs", "true", True),
        ("stop", "END", "END"),
        ("stop", '["a", "b"]', ["a", "b"]),
        ("stop", "0.3", "0.3"),
        ("stop", ["a"], ["a"]),
        ("tool_choice", '{"type": "function"}', {"type": "function"}),
        ("tool_choice", "auto", "auto"),
        ("metadata", {"a": "b"}, {"a": "b"}),
        ("seed", "-5", -5),
    ],
)
def test_a_cell_becomes_what_the_api_wants(parameter: str, value: Any, found: Any) -> None:
    result = read(parameter, value)
    assert (type(result), result) == (type(found), found)


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("temperature", "hot", "'hot' cannot be the parameter temperature, which must be a number"),
        ("temperature", "NaN", "'NaN' cannot be the parameter temperature, which must be a number"),
        ("temperature", "true", "'true' cannot be the parameter temperature, which must be a number"),
        ("max_tokens", "1.5", "'1.5' cannot be the parameter max_tokens, which must be an integer"),
        ("max_tokens", "null", "'null' cannot be the parameter max_tokens, which must be an integer"),
        ("logprobs", "yes", "'yes' cannot be the parameter logprobs, which must be a boolean"),
        ("stop", {"a": 1}, "{'a': 1} cannot be the parameter stop, which must be an array or a string"),
        ("metadata", "x" * 200, f"'{'x' * 78}… cannot be the parameter metadata, which must be an object"),
    ],
)
def test_a_value_that_the_api_does_not_take_is_an_error(parameter: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(parameter, value)
    assert str(caught.value) == f"column 'c': {message}"


def fits(value: Any, types: frozenset[str]) -> bool:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}
    kind = kinds[type(value)]
    return kind in types or (kind == "integer" and "number" in types)


json_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(CHAT_PARAMETERS)), json_values | st.none())
def test_any_value_is_unset_or_has_a_type_of_the_parameter(parameter: str, value: Any) -> None:
    try:
        found = read(parameter, value)
    except InputError:
        assert not fits(value, json_types(parameter))
    else:
        assert found is None or fits(found, json_types(parameter))


def test_an_at_sign_names_a_column_and_two_are_one() -> None:
    assert [column_of(each) for each in ("@a", "@@a", "a", "@", 5)] == ["a", None, None, None, None]
    assert [constant(each) for each in ("@@a", "a", "@", 5)] == ["@a", "a", "@", 5]


def test_a_key_with_dots_leads_into_objects() -> None:
    column = ColumnValue("settings.temp", "the parameter temperature", frozenset({"number"}))
    for row in ({"settings": {"temp": 0.5}}, {"settings.temp": "0.5", "settings": {}}):
        column.check(row, "r.jsonl:1")
        assert column.read(row) == 0.5
    assert column.read({"settings": None}) is None
    with pytest.raises(
        InputError, match=r"no column 'settings\.temp' for .*; 'settings' has no 'temp'; known: a$"
    ):
        column.check({"settings": {"a": 1}}, "r.jsonl:1")


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^r\.csv:2: no column 'tmp' for the tag t; did you mean 'temp'\?$"):
        ColumnValue("tmp", "the tag t", frozenset({"string"})).check({"temp": 1}, "r.csv:2")
