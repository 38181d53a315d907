"""Prompts in Jinja."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.bulk.prompts.jinja_template import JinjaTemplate
from headrace.bulk.template import Template
from headrace.errors import InputError


@pytest.mark.parametrize(
    ("text", "row", "prompt"),
    [
        ("{{ name | upper }}!", {"name": "hose"}, "HOSE!"),
        ("{% for n in names %}{{ loop.index }}. {{ n }} {% endfor %}", {"names": ["a", "b"]}, "1. a 2. b "),
        ("{% if price %}{{ price }} EUR{% else %}free{% endif %}", {"price": None}, "free"),
        ("{{ row['First Name'] }}", {"First Name": "Ada"}, "Ada"),
        ("{{ row }}", {"row": "mine"}, "mine"),
        ("{{ a.b.c }}", {"a": {"b": {"c": 1}}}, "1"),
        ("{{ x | default('none') }}", {}, "none"),
        ("{% if x is defined %}{{ x }}{% endif %}", {}, ""),
        ("{{ '<b>' }} & {{ x }}", {"x": "<i>"}, "<b> & <i>"),
        ("a\n", {}, "a"),
    ],
)
def test_a_template_is_rendered_with_the_row(text: str, row: dict[str, Any], prompt: str) -> None:
    template = JinjaTemplate(text)
    template.check(row, "rows.csv:2")
    assert template.render(row) == prompt


@settings(deadline=None)  # the first template imports Jinja
@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(st.integers())
)
def test_values_are_printed_as_in_a_template_with_braces(value: Any) -> None:
    assert JinjaTemplate("<{{ x }}>").render({"x": value}) == Template("<{x}>").render({"x": value})


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("{{ a }} {{ b.c }}", ("a", "b")),
        ("{% for n in names %}{{ n }}{% endfor %}", ("names",)),
        ("{% set x = a %}{{ x }}{{ range(3) }}", ("a",)),
        ("{{ row['a b'] }}", ("row",)),
        ("nothing {# a #}", ()),
    ],
)
def test_columns_are_the_names_that_the_template_reads(text: str, columns: tuple[str, ...]) -> None:
    assert JinjaTemplate(text).columns == columns


def test_a_missing_column_names_the_nearest_and_an_optional_one_may_be_missing() -> None:
    template = JinjaTemplate("{{ nmae }}", "system")
    with pytest.raises(
        InputError, match=r"^rows\.csv:7: no column 'nmae' for the system message; did you mean 'name'\?$"
    ):
        template.check({"name": "a"}, "rows.csv:7")
    JinjaTemplate("{% if x is defined %}{{ x }}{% endif %}{{ y | d(1) }}{{ row.z }}").check({}, "rows.csv:7")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a\n{{ b", 2, "unexpected end of template, expected 'end of print statement'."),
        ("a\n\n{% if x %}", 3, "Unexpected end of template."),
        ("{{ x | nofilter }}", 1, "No filter named 'nofilter'."),
        (
            "\n{% include 'secret.txt' %}",
            2,
            "a template cannot load other templates; copy their text into it",
        ),
        ("{% import 'x' as y %}", 1, "a template cannot load other templates; copy their text into it"),
    ],
)
def test_a_mistake_in_the_template_has_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        JinjaTemplate(text)
    assert str(caught.value).startswith(f"prompt=, line {line}: ")
    assert reason.split(" template")[0] in str(caught.value)
    with pytest.raises(InputError) as caught:
        JinjaTemplate(text, "system", "system.j2")
    assert str(caught.value).startswith(f"system.j2:{line}: ")


@pytest.mark.parametrize(
    ("text", "row", "message"),
    [
        ("a\n{{ row.b }}", {}, "the prompt, line 2: UndefinedError: 'dict object' has no attribute 'b'"),
        (
            "{{ row['\x1b[2J'] }}",
            {},
            r"the prompt, line 1: UndefinedError: 'dict object' has no attribute '\x1b[2J'",
        ),
        ("{{ 1 / n }}", {"n": 0}, "the prompt, line 1: ZeroDivisionError: division by zero"),
        ("\n\n{{ x | round }}", {"x": "a"}, "the prompt, line 3: TypeError: "),
        ("{{ x.append(1) }}", {"x": []}, "the prompt, line 1: SecurityError: "),
        ("{{ x.__class__.__mro__ }}", {"x": ""}, "the prompt, line 1: SecurityError: "),
        ("{{ range(10**9) | list }}", {"x": 1}, "the prompt, line 1: OverflowError: "),
    ],
)
def test_an_error_in_one_row_has_the_line_of_the_template(
    text: str, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        JinjaTemplate(text).render(row)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1
