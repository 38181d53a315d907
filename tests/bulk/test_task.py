"""The request for each item, and the check of its answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.bulk import InputCheck, Source, Task
from headrace.bulk.task import read_choice
from headrace.bulk.template import Template
from headrace.errors import AnswerError, InputError, InvalidReply
from headrace.replies import Headers, Reply


def answer(text: str) -> Reply:
    return Reply(200, Headers([]), json.dumps({"choices": [{"message": {"content": text}}]}).encode())


def test_a_row_becomes_a_prompt_with_the_choices(products: Path) -> None:
    task = Task(Source(products), Template("Ordne {name}"), "m", ["Garten", "Sport"])
    request = task.request(next(task.source.items()))
    assert request.id == "P0"
    assert request.body is not None
    assert request.body["model"] == "m"
    system, user = request.body["messages"]
    assert user == {"role": "user", "content": "Ordne Ding, 0"}
    assert "Answer with exactly one of: Garten | Sport\n" in system["content"]


def test_batch_lines_are_sent_unchanged(tmp_path: Path) -> None:
    body = {"model": "gpt", "input": "x"}
    line = {"custom_id": "e1", "method": "POST", "url": "/v1/embeddings", "body": body}
    path = tmp_path / "batch.jsonl"
    path.write_text(json.dumps(line))
    task = Task(Source(path), None, None)
    assert InputCheck(task).finish() == 1
    request = task.request(next(task.source.items()))
    assert (request.id, request.path, request.method, request.body) == ("e1", "/embeddings", "POST", body)


@pytest.mark.parametrize("text", ["Garten", " garten\n", "**Garten**", '"GARTEN".', "„Garten“"])
def test_a_choice_is_found_inside_common_decoration(products: Path, text: str) -> None:
    task = Task(Source(products), Template("{name}"), "m", ["Garten", "Sport"])
    assert read_choice(task.choices, answer(text)) == ("Garten", None)


@pytest.mark.parametrize("text", ["", "Gartenbau", "Garten oder Sport", "Das weiß ich nicht"])
def test_an_answer_outside_the_choices_is_an_error_with_the_answer(products: Path, text: str) -> None:
    task = Task(Source(products), Template("{name}"), "m", ["Garten", "Sport"])
    choice, error = read_choice(task.choices, answer(text))
    assert choice is None
    assert isinstance(error, AnswerError)
    assert repr(text) in str(error)


def test_a_reply_without_text_is_an_error_only_with_choices(products: Path) -> None:
    strange = Reply(200, Headers([]), b'{"object": "list"}')
    with_choices = Task(Source(products), Template("{name}"), "m", ["a"])
    assert isinstance(read_choice(with_choices.choices, strange)[1], InvalidReply)
    assert read_choice((), strange) == (None, None)


@pytest.mark.parametrize(
    ("prompt", "model", "choices", "message"),
    [
        (None, "m", None, "prompt= is missing"),
        ("{name}", None, None, "no model: set model="),
        ("{name}", "m", ["a", ""], "choices=: one of them is empty"),
        ("{name}", "m", "a,b", "choices='a,b': must be a list of texts"),
        ("{name}", "m", 5, "choices=5: must be a list of texts"),
        ("{name}", "m", ["a", 1], "choices=: 1 is not a text"),
        ("{name}\udcff", "m", None, "prompt=: has '.udcff', which is not UTF-8; write it in UTF-8"),
        ("{name}", "m\ud83d", None, "model=: has '.ud83d', which is not UTF-8; write it in UTF-8"),
        ("{name}", "m", ["a", "\udcff"], "choices=: has '.udcff', which is not UTF-8; write it in UTF-8"),
        ("{name}", "m", ["a", "A "], "choices=: two of them differ only in"),
        ("{nmae}", "m", None, r"products\.csv:2: no column 'nmae' .* did you mean 'name'\?"),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(
    products: Path, prompt: str | None, model: str | None, choices: Any, message: str
) -> None:
    template = None if prompt is None else Template(prompt)
    with pytest.raises(InputError, match=message):
        InputCheck(Task(Source(products), template, model, choices)).finish()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"custom_id": "b", "url": "/v1/chat/completions", "body": {}}, "no model"),
        ({"custom_id": "b", "url": "/v1/chat/completions", "body": []}, "and 'body', an object"),
        ({"custom_id": "b", "url": "v1/x", "body": {"model": "m"}}, "must begin with '/'"),
        ({"custom_id": "b", "url": "/v1/x", "body": {"model": "m", "stream": True}}, "stream"),
        (
            {"custom_id": "a", "url": "/v1/x", "body": {"model": "m"}},
            "duplicate custom_id 'a', first in line 1",
        ),
    ],
)
def test_a_bad_batch_line_is_found_with_its_number(tmp_path: Path, line: object, message: str) -> None:
    good = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}
    path = tmp_path / "batch.jsonl"
    path.write_text(f"{json.dumps(good)}\n{json.dumps(line)}\n")
    with pytest.raises(InputError, match=r"batch\.jsonl:2: ") as caught:
        InputCheck(Task(Source(path), None, None)).finish()
    assert message in str(caught.value)


def test_a_prompt_for_the_batch_format_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_text('{"custom_id": "a", "url": "/v1/x", "body": {"model": "m"}}\n')
    with pytest.raises(InputError, match="leave out prompt="):
        Task(Source(path), Template("x"), "m")


def test_the_fingerprint_covers_everything_that_changes_the_answers(products: Path) -> None:
    def fingerprint(prompt: str = "{name}", model: str = "m", choices: tuple[str, ...] = ()) -> object:
        return Task(Source(products), Template(prompt), model, choices).fingerprint()

    before = fingerprint()
    assert before == fingerprint()
    assert before != fingerprint(prompt="{id}")
    assert before != fingerprint(model="n")
    assert before != fingerprint(choices=("a",))
    products.write_text(products.read_text() + "P10,neu,neu\n")
    assert before == fingerprint(), "rows are matched by their ids"


def test_system_and_parameters_are_in_each_request_and_in_the_fingerprint(products: Path) -> None:
    source = Source(products)
    task = Task(source, Template("{name}"), "m", ["a"], "Be brief.", {"temperature": 0.3})
    body = task.request(next(source.items())).body
    assert body is not None
    assert body["temperature"] == 0.3
    assert body["messages"][0]["role"] == "system"
    assert body["messages"][0]["content"].startswith("Be brief.\nAnswer with exactly one of: a\n")
    plain = Task(source, Template("{name}"), "m")
    assert (plain.fingerprint()["system"], plain.fingerprint()["parameters"]) == (None, None)
    assert task.fingerprint()["parameters"] == {"temperature": 0.3}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"temprature": 1}, "did you mean 'temperature'"), ({"seed": object()}, "JSON")],
)
def test_an_unknown_parameter_is_an_error_at_once(
    products: Path, parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Task(Source(products), Template("{name}"), "m", parameters=parameters)


def test_limit_takes_the_first_items(products: Path) -> None:
    task = Task(Source(products, limit=3), Template("{name}"), "m")
    assert InputCheck(task).finish() == 3
    assert [item.id for item in task.source.items()] == ["P0", "P1", "P2"]
