"""Mistakes in the steps of a job, all found before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from tests.bulk.steps.conftest import SCHEMA, PromptEndpoint
from tests.bulk.steps.test_steps import ROWS, perform

from headrace import Step
from headrace.errors import InputError

MISTAKES: dict[str, tuple[Any, str]] = {
    "no steps": ([], "steps: must be a list of headrace.Step, with at least one"),
    "no step": (["x"], "steps: must be a list of headrace.Step, with at least one"),
    "two of a name": (
        [Step("a", "{id}"), Step("a", "{id}")],
        "steps: two steps have the name 'a'; rename one",
    ),
    "two of an output": (
        [Step("a", "{id}"), Step("b", "{id}", output="a")],
        "steps: two steps have the output 'a'; rename one",
    ),
    "a column": (
        [Step("name", "{id}")],
        "step 'name': the input has a column 'name' already; name another one for the answers with output=",
    ),
    "no prompt": ([Step("a")], "step 'a': rows: prompt= is missing; it may name columns, like {name}"),
    "a constant prompt": (
        [Step("a", "Hello")],
        "step 'a': prompt=: names no column, so all rows would get the same prompt; name one, like {name} "
        "for the column 'name'",
    ),
    "a later answer": (
        [Step("a", "{b}"), Step("b", "{id}")],
        "step 'a': names 'b', the answer of the later step 'b'; name an earlier step",
    ),
    "its own answer": (
        [Step("a", "{id}", when="a == null")],
        "step 'a': names 'a', its own answer; name an earlier step",
    ),
    "an unknown column": (
        [Step("a", "{nome}")],
        "step 'a': row 1: no column 'nome' for the prompt; did you mean 'name'?",
    ),
    "an unknown column of a condition": (
        [Step("kind", "{id}"), Step("a", "{id}", when="kinds == 'x'")],
        "step 'a': row 1: no column 'kinds' for the condition; did you mean 'kind'?",
    ),
    "a member of a text": (
        [Step("a", "{id}"), Step("b", "{a.score}")],
        "step 'b': names 'a.score', but the answer of that step is not an object; give it a schema, or name "
        "the answer itself",
    ),
    "an unknown member": (
        [Step("a", "{id}", answer=SCHEMA), Step("b", "{id}", when="a.scor > 1")],
        "step 'b': names 'a.scor', but the answer of that step has no 'scor'; did you mean 'score'?",
    ),
    "no expression": (
        [Step("a", "{id}", when="id = 1")],
        "step 'a': when=: 'id = 1': at '= 1' (character 4): to compare, write ==",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_found_before_anything_is_sent(shop: PromptEndpoint, name: str) -> None:
    steps, message = MISTAKES[name]
    with pytest.raises(InputError) as error:
        await perform(shop, ROWS, steps)
    assert str(error.value) == message
    assert not shop.attempts


@pytest.mark.anyio
async def test_other_arguments_of_requests_belong_to_the_steps(shop: PromptEndpoint) -> None:
    with pytest.raises(InputError) as error:
        await perform(shop, prompt="{id}", choices=["a"], tags={"team": "shop"})
    assert str(error.value) == (
        "steps: each step has its own requests; leave out prompt=, choices=, or give them to a step"
    )


@pytest.mark.parametrize("name", ["", "a b", "1a", "a.b", "{a}", None])
def test_names_of_steps_are_words(name: Any) -> None:
    with pytest.raises(InputError, match="must be a word of letters, digits, - and _"):
        Step(name, "{id}")
