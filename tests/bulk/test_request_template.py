"""The request of a row: messages, examples, model, parameters, tags and priority."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.bulk import InputCheck, Item, Source, SourceKind, Task, WorkItem
from headrace.bulk.worker_frames import encode_item
from headrace.bulk.worker_protocol import WorkerItem
from headrace.calls import Request
from headrace.errors import InputError
from headrace.wire.parameters import CHAT_PARAMETERS
from headrace.wire.request_bodies import as_request, encode_body

ROW = {
    "name": "hose",
    "lang": "German",
    "temp": "0.3",
    "tenant": "acme",
    "prio": "5",
    "model": "m-row",
    "chat": [{"role": "user", "content": "Hi"}],
}


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of one row."""
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW))
    monkeypatch.chdir(tmp_path)
    return "rows.jsonl"


def request_of(rows: str, prompt: Any = "Sort {name}", model: str | None = "m", **arguments: Any) -> Request:
    task = Task(Source(rows), prompt, model, **arguments)
    assert InputCheck(task).finish() == 1
    return task.request(next(task.source.items()))


def body_of(*arguments: Any, **keywords: Any) -> dict[str, Any]:
    body = request_of(*arguments, **keywords).body
    assert isinstance(body, dict)
    return body


USER_TURN = {"role": "user", "content": "Hi"}


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def test_the_system_message_names_columns_too(rows: str) -> None:
    messages = body_of(rows, system="Speak {lang}.")["messages"]
    assert messages == [{"role": "system", "content": "Speak German."}, user("Sort hose")]


def test_parameters_come_from_columns_and_constants(rows: str) -> None:
    parameters = {"temperature": "@temp", "user": "@@me", "seed": 1}
    body = body_of(rows, parameters=parameters, extra_body={"chat_template_kwargs": {"thinking": False}})
    assert {name: body[name] for name in body if name not in ("messages", "model")} == {
        "temperature": 0.3,
        "user": "@me",
        "seed": 1,
        "chat_template_kwargs": {"thinking": False},
    }


def test_tags_and_priority_come_from_columns_and_constants(rows: str) -> None:
    request = request_of(rows, tags={"tenant": "@tenant", "team": "shop"}, priority="@prio")
    assert (request.tags, request.priority) == ({"tenant": "acme", "team": "shop"}, 5)
    assert request_of(rows, priority=-2).priority == -2


@pytest.mark.parametrize(("cell", "model"), [("m-row", "m-row"), ("", "m"), (None, "m")])
def test_the_model_comes_from_a_column_or_else_is_the_usual_one(
    rows: str, cell: str | None, model: str
) -> None:
    Path(rows).write_text(json.dumps(ROW | {"model": cell}))
    assert body_of(rows, model_column="model")["model"] == model


def test_a_conversation_follows_the_system_message_and_comes_before_the_prompt(rows: str) -> None:
    assert body_of(rows, None, messages="chat")["messages"] == [user("Hi")]
    messages = body_of(rows, "Sum it up.", system="Speak {lang}.", messages="chat")["messages"]
    assert messages == [{"role": "system", "content": "Speak German."}, user("Hi"), user("Sum it up.")]


def test_a_conversation_in_parquet_has_no_null_members(tmp_path: Path) -> None:
    chat = [USER_TURN | {"name": None}, {"role": "assistant", "content": None, "name": "a"}]
    path = tmp_path / "chats.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "chat": [chat]}), path)
    messages = body_of(str(path), None, messages="chat")["messages"]
    assert messages == [USER_TURN, {"role": "assistant", "content": None, "name": "a"}]


EXAMPLES = [{"name": "rake", "answer": "Garten"}, {"name": "sock", "answer": "Kleidung"}]


@pytest.mark.parametrize("name", ["examples.jsonl", "examples.csv", None])
def test_examples_are_rendered_with_the_same_template(rows: str, name: str | None) -> None:
    if name == "examples.jsonl":
        Path(name).write_text("".join(json.dumps(each) + "\n" for each in EXAMPLES))
    elif name is not None:
        Path(name).write_text("name,answer\nrake,Garten\nsock,Kleidung\n")
    body = body_of(rows, examples=name or EXAMPLES, choices=["Garten", "Kleidung"])
    assert [message["content"] for message in body["messages"][1:]] == [
        *("Sort rake", "Garten", "Sort sock", "Kleidung", "Sort hose")
    ]
    assert [message["role"] for message in body["messages"]] == ["system", *["user", "assistant"] * 2, "user"]


def by_function(row: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"role": "system", "content": "Be kind."}, user(row["name"])]


def test_a_function_may_return_all_messages(rows: str) -> None:
    messages = body_of(rows, by_function, choices=["a", "b"])["messages"]
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[0]["content"].endswith("Give no explanation.\nBe kind.")


REFUSALS: list[tuple[dict[str, Any], str]] = [
    (
        {"prompt": "Sort it"},
        "prompt=: names no column, so all rows would get the same prompt; "
        "name one, like {name} for the column 'name'",
    ),
    (
        {"prompt": "Sort it", "template": "jinja"},
        "prompt=: names no column, so all rows would get the same prompt; "
        "name one, like {{ name }} for the column 'name'",
    ),
    (
        {"prompt": "Sort it", "tags": {"tenant": "@tenant"}},
        "prompt=: names no column, so all rows would get the same prompt; "
        "name one, like {name} for the column 'name'",
    ),
    (
        {"model": "m-{lang}"},
        "model='m-{lang}': a model is not a template; "
        "if the column 'lang' has the models, name it with model_column=",
    ),
    *(
        (
            {"model": model},
            f"model={model!r}: is an embedding model, which cannot answer a prompt; "
            'name a chat model, or use task="embed"',
        )
        for model in (
            *("text-embedding-3-small", "nomic-embed-text", "bge-m3", "BAAI/bge-large-en", "e5-mistral"),
            *("intfloat/multilingual-e5-large", "mistral-embed", "Qwen/Qwen3-Embedding-8B"),
        )
    ),
    (
        {"parameters": {"temperature": "{temp}"}},
        "parameters=: temperature is '{temp}', but a parameter is not a template; "
        "write @temp for the value of a column",
    ),
    (
        {"tags": {"tenant": "of {tenant}"}},
        "tags=: tenant is 'of {tenant}', but a tag is not a template; "
        "write @tenant for the value of a column",
    ),
    (
        {"parameters": {"extra_body": {"top_k": 4}}},
        "parameters=: extra_body is not one of them; pass extra_body= beside parameters=",
    ),
    (
        {"parameters": {"temperature": "@tmp"}},
        "rows.jsonl:1: no column 'tmp' for the parameter temperature; ",
    ),
    ({"system": "{lng}"}, "rows.jsonl:1: no column 'lng' for the system message; did you mean 'lang'?"),
    ({"prompt": "{nmae}"}, "rows.jsonl:1: no column 'nmae' for the prompt; did you mean 'name'?"),
    ({"messages": "chats"}, "rows.jsonl:1: no column 'chats' for the messages; did you mean 'chat'?"),
    ({"model_column": "mdoel"}, "rows.jsonl:1: no column 'mdoel' for the model; did you mean 'model'?"),
    ({"tags": {"t": "@tenants"}}, "rows.jsonl:1: no column 'tenants' for the tag t; did you mean 'tenant'?"),
    ({"priority": "@pro"}, "rows.jsonl:1: no column 'pro' for the priority; did you mean 'prio'?"),
    ({"priority": "high"}, "priority='high': must be an integer, or @ and the name of a column"),
    ({"priority": 2**60}, f"priority={2**60}: must be at least -2**53 and at most 2**53"),
    ({"priority": True}, "priority=True: must be an integer, or @ and the name of a column"),
    ({"tags": {"t": 5}}, "tags=: 't' must be a string, and so must its value"),
    ({"parameters": {"temperature": "hot"}}, "parameters=: temperature is 'hot', but it must be a number"),
    ({"parameters": {"max_tokens": "5"}}, "parameters=: max_tokens is '5', but it must be an integer"),
    ({"parameters": {"metadata": "@@a"}}, "parameters=: metadata is '@@a', but it must be an object"),
    ({"extra_body": {"messages": []}}, "extra_body=: messages is in each request already; leave it out here"),
    (
        {"extra_body": {"seed": 1}, "parameters": {"seed": 2}},
        "extra_body=: seed is in parameters= too; leave it out here",
    ),
    ({"extra_body": [1]}, "extra_body=: must be a mapping, not list"),
    (
        {"extra_body": {"a": object()}},
        "extra_body=: body.a is of type object, which cannot be written as JSON",
    ),
    ({"on_missing": "skip"}, "on_missing='skip': must be 'refuse' or 'fail-row'"),
    ({"examples": 5}, "examples=: must be a file or a list of rows, not int"),
    ({"examples": ["a"]}, "examples=: item 1 must be a mapping, not str"),
    (
        {"examples": [{"nmae": "a", "answer": "b"}]},
        "item 1 of the examples: no column 'name' for the prompt; did you mean 'nmae'?",
    ),
    (
        {"examples": [EXAMPLES[0], {"name": "a"}]},
        "item 2 of the examples: an example needs a column 'answer' that is not empty",
    ),
    (
        {"examples": EXAMPLES, "choices": ["Garten", "Sport"]},
        "item 2 of the examples: the answer 'Kleidung' is not one of the choices",
    ),
    (
        {"examples": EXAMPLES, "prompt": "{{ name / 2 }}", "template": "jinja"},
        "item 1 of the examples: the prompt, line 1: TypeError: "
        "unsupported operand type(s) for /: 'str' and 'int'",
    ),
    (
        {"prompt": None, "messages": "chat", "examples": EXAMPLES},
        "examples=: need prompt=, which makes their questions",
    ),
    (
        {"prompt": by_function, "examples": EXAMPLES},
        "examples=: need a prompt that is one text, not a list of messages",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSALS)
def test_a_mistake_is_one_line_before_anything_is_sent(
    rows: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        request_of(rows, **arguments)
    assert str(caught.value) == message or (message.endswith("; ") and str(caught.value).startswith(message))


@pytest.mark.parametrize(
    "arguments",
    [
        {"system": "You are {name}"},
        {"messages": "chat"},
        {"model_column": "model"},
        {"parameters": {"temperature": "@temp"}},
    ],
)
def test_one_prompt_for_all_rows_is_allowed_if_something_else_differs(
    rows: str, arguments: dict[str, Any]
) -> None:
    assert body_of(rows, "Introduce yourself", **arguments)["messages"][-1] == user("Introduce yourself")


@pytest.mark.parametrize("model", ["gpt-4.1", "deepseek-v3.2", "google/gemma-3", "o5-mini", "bgemma"])
def test_chat_models_are_not_taken_for_embedding_models(rows: str, model: str) -> None:
    assert body_of(rows, model=model)["model"] == model


@pytest.mark.parametrize(
    ("row", "arguments", "message"),
    [
        (
            {"temp": "hot"},
            {"parameters": {"temperature": "@temp"}},
            "column 'temp': 'hot' cannot be the parameter temperature, which must be a number",
        ),
        ({"chat": ""}, {"messages": "chat"}, "column 'chat' must hold a list of messages; it is empty"),
        (
            {"prio": "high"},
            {"priority": "@prio"},
            "column 'prio': 'high' cannot be the priority, which must be an integer",
        ),
        (
            {"prio": "1" * 30},
            {"priority": "@prio"},
            "column 'prio': the priority must be at least -2**53 and at most 2**53",
        ),
        (
            {"model": "a\nb"},
            {"model_column": "model"},
            r"column 'model': 'a\nb' has a character of no model's name",
        ),
        (
            {"tenant": ["a"]},
            {"tags": {"t": "@tenant"}},
            "column 'tenant': ['a'] cannot be the tag t, which must be a string",
        ),
        (
            {"model": "bge-m3"},
            {"model_column": "model"},
            "column 'model': 'bge-m3' is an embedding model, which cannot answer a prompt; "
            'name a chat model, or use task="embed"',
        ),
        (
            {"model": ""},
            {"model_column": "model", "model": "bge-m3"},
            "column 'model' is empty, and the other model: 'bge-m3' is an embedding model, "
            'which cannot answer a prompt; name a chat model, or use task="embed"',
        ),
        (
            {"model": ""},
            {"model_column": "model", "model": None},
            "column 'model' is empty, and no other model is set",
        ),
        (
            {},
            {"prompt": "{{ name / 2 }}", "template": "jinja"},
            "the prompt, line 1: TypeError: unsupported operand type(s) for /: 'str' and 'int'",
        ),
        (
            {},
            {"prompt": lambda row: row["nmae"]},
            "the prompt function raised KeyError: 'nmae'",
        ),
    ],
)
def test_a_bad_value_in_a_row_passes_the_check_and_fails_that_row(
    rows: str, row: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    Path(rows).write_text(json.dumps(ROW | row))
    with pytest.raises(InputError) as caught:
        request_of(rows, **arguments)
    assert str(caught.value) == f"rows.jsonl:1: {message}"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@attrs.frozen
class Rows:
    """Rows as the source of a task."""

    rows: list[dict[str, Any]]
    name: str = "rows"
    kind: SourceKind = "jsonl"
    id_column: str | None = None

    def where(self, line: int) -> str:
        return f"row {line}"

    def items(self) -> Iterator[Item]:
        return (Item(index, index + 1, str(index), row) for index, row in enumerate(self.rows))

    def digest(self) -> str:
        return ""


numbers = st.integers(0, 99).map(str) | st.floats().map(str) | st.integers()
chats = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": st.text()}), min_size=1)
USUAL = {"a": st.text(), "b": chats, "c": numbers, "d": st.text(), "e": numbers, "f": st.just("m2")}


@settings(deadline=None)  # the first template imports Jinja
@given(
    st.fixed_dictionaries(USUAL)
    | st.fixed_dictionaries(USUAL | {"b": st.integers() | chats.map(json.dumps)})
    | st.fixed_dictionaries(dict.fromkeys(USUAL, json_values))
    | st.fixed_dictionaries({}, optional=USUAL),
    st.just("temperature") | st.sampled_from(sorted(CHAT_PARAMETERS)),
    st.sampled_from(["{a}", "{{ a | upper }}", "{{ b + 1 }}", None]),
)
def test_any_row_has_a_request_that_can_be_sent_or_is_an_input_error(
    row: dict[str, Any], parameter: str, prompt: str | None
) -> None:
    task = Task(
        *(Rows([row]), prompt, "m"),
        template="jinja" if prompt and "{{" in prompt else "braces",
        messages="b" if prompt is None else None,
        parameters={parameter: "@c"},
        tags={"tenant": "@d"},
        priority="@e",
        model_column="f",
        on_missing="fail-row",
    )
    (item,) = task.source.items()
    reason = ""
    try:
        request = task.request(item)
    except InputError as error:
        reason = str(error)
    if reason:
        assert reason.startswith("row 1: ")
        assert len(reason) < 1000
    else:
        sent = encode_body(as_request(request, "m").body)
        worker_item = msgspec.msgpack.decode(
            msgspec.msgpack.encode(encode_item(WorkItem(0, "0", request))), type=WorkerItem
        )
        received = worker_item.request
        assert (received.tags, received.priority, received.id) == (request.tags, request.priority, "0")
        assert encode_body(received.body) == sent


def test_a_row_that_lost_a_column_after_the_check_is_an_input_error(rows: str) -> None:
    task = Task(Source(rows), "{name}", "m", system="{lang}", parameters={"temperature": "@temp"})
    item = next(task.source.items())
    for column in ("name", "lang", "temp"):
        lost = attrs.evolve(item, row={name: value for name, value in ROW.items() if name != column})
        with pytest.raises(InputError, match=rf"^rows\.jsonl:1: no column '{column}' for the "):
            task.request(lost)


def test_everything_that_changes_a_request_changes_the_fingerprint(rows: str) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"system": "{lang}"},
        {"messages": "chat"},
        {"examples": EXAMPLES},
        {"examples": EXAMPLES[:1]},
        {"model_column": "model"},
        {"parameters": {"temperature": "@temp"}},
        {"parameters": {"temperature": "@prio"}},
        {"extra_body": {"top_k": 1}},
        {"prompt": "{{ name }}", "template": "jinja"},
        {"prompt": "{{ name }}", "system": "{lang}"},
        {"prompt": lambda row: row["name"]},
        {"prompt": lambda row: row["lang"]},
    ]
    fingerprints = [
        json.dumps(Task(Source(rows), **{"prompt": "{name}", "model": "m"} | change).fingerprint())
        for change in changes
    ]
    assert len(set(fingerprints)) == len(changes)
    for same in ({"tags": {"t": "@tenant"}}, {"priority": 5}, {"on_missing": "fail-row"}):
        fingerprint = Task(Source(rows), "{name}", "m", **same).fingerprint()
        assert json.dumps(fingerprint) == fingerprints[0]


def test_nothing_of_a_row_goes_with_the_batch_format(rows: str) -> None:
    Path(rows).write_text('{"custom_id": "a", "url": "/v1/x", "body": {"model": "m"}}\n')
    with pytest.raises(InputError) as caught:
        Task(Source(rows), None, None, tags={"a": "b"}, extra_body={"c": 1}, priority=2, messages="d")
    assert str(caught.value).endswith("leave out messages=, tags=, priority=, extra_body=")
