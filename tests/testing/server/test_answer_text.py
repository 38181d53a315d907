"""The choices of the simulated model, and the form of its answers."""

import json
from importlib.resources import files
from typing import Any

import pytest

from headrace.testing.server import Behaviour, SimulatedModel

CATEGORIES = ["Elektronik", "Haushalt", "Kleidung", "Bücher", "Spielzeug", "Sport", "Garten", "Lebensmittel"]


def answer(prompt: str, *, system: str | None = None, seed: int = 0, **more: Any) -> str:
    messages = [{"role": "user", "content": prompt}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    body = json.dumps({"model": "m", "messages": messages, **more}).encode()
    plan = SimulatedModel(Behaviour(seed=seed)).answer("POST", "/chat/completions", {}, body, 0.0)
    content = json.loads(plan.content)["choices"][0]["message"]["content"]
    assert isinstance(content, str)
    return content


def choose(prompt: str, choices: list[str] = CATEGORIES, *, seed: int = 0) -> str:
    return answer(prompt, system="Answer with exactly one of: " + " | ".join(choices), seed=seed)


@pytest.mark.parametrize(
    ("product", "category"),
    [
        ("Ohrhörer mit Bluetooth und Ladeetui", "Elektronik"),
        ("Gusseiserne Pfanne, auch für Induktion", "Haushalt"),
        ("Grob gestrickter Pullover aus Schurwolle", "Kleidung"),
        ("Ein spannender Krimi, 384 Seiten", "Bücher"),
        ("Puzzle mit 1000 Teilen", "Spielzeug"),
        ("Yogamatte für das Training", "Sport"),
        ("Schlauch für Beete und Rasen, 25 Meter", "Garten"),
        ("Kräftiger Honig vom Imker", "Lebensmittel"),
        ("OHRHÖRER MIT BLUETOOTH", "Elektronik"),
    ],
)
def test_product_gets_its_category(product: str, category: str) -> None:
    assert choose(product) == category


def test_demo_products_and_categories_match() -> None:
    table = files("headrace").joinpath("cli", "products.csv").read_text(encoding="utf-8")
    taken = [choose(line) for line in table.splitlines()[1:]]
    assert len(taken) == 240
    # The demo has thirty products per category.
    assert all(20 <= taken.count(category) <= 40 for category in CATEGORIES)


def test_choice_without_cue_words_is_found_by_its_letters() -> None:
    assert (
        choose("I was charged twice, please check my billing", ["billing", "shipping", "returns"])
        == "billing"
    )
    assert choose("Die Lieferung kam nie an", ["Rechnung", "Lieferungen", "Sonstiges"]) == "Lieferungen"


def test_seed_decides_between_equal_choices() -> None:
    taken = {choose("???", ["x", "y", "z"], seed=seed) for seed in range(40)}
    assert taken == {"x", "y", "z"}


@pytest.mark.parametrize(
    "line",
    [
        "one of: red | green | blue",
        "Choose ONE OF: red, green, blue.",
        "You sort mail.\nAnswer with exactly one of:  red|green|blue\r\nNothing else.",
    ],
)
def test_choices_are_found_in_each_form_of_the_line(line: str) -> None:
    assert answer("the green one", system=line) == "green"


def test_choices_in_the_prompt_are_not_part_of_its_text() -> None:
    assert answer("A blue sky.\nAnswer with exactly one of: red | green | blue") == "blue"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "enum": ["cat", "dog"]}, "dog"),
        ({"type": "object", "properties": {"animal": {"enum": ["cat", "dog"]}}}, {"animal": "dog"}),
        (
            {"$defs": {"A": {"enum": ["cat", "dog"]}}, "properties": {"a": {"$ref": "#/$defs/A"}}},
            {"a": "dog"},
        ),
        (
            {"properties": {"a": {"anyOf": [{"enum": ["dog"]}, {"type": "null"}]}, "n": {"type": "integer"}}},
            {"a": "dog", "n": 0},
        ),
        ({"type": "array", "items": {"const": 7}}, [7]),
        ({"type": ["boolean", "null"]}, False),
        ({"type": "array"}, []),
        ({"type": "object"}, {}),
        ({"type": "number"}, 0),
        ({"type": "date"}, None),
        ({"$ref": "#"}, None),
        ({"$ref": "#/nowhere"}, None),
    ],
)
def test_answer_fits_the_schema(schema: dict[str, Any], expected: Any) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert json.loads(answer("a dog barks", response_format=wanted)) == expected


def test_json_object_format_gives_a_json_object() -> None:
    assert isinstance(json.loads(answer("Hello", response_format={"type": "json_object"})), dict)


def test_other_answers_are_sentences_that_mention_the_prompt() -> None:
    text = answer("Was ist ein Oberwasserkanal?", system="Be brief.")
    assert "Was ist ein Oberwasserkanal?" in text
    assert text.count(".") >= 3
