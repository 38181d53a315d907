"""Which answers fail because of the way they ended."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk import run, write_table
from headrace.bulk.fail_on import FAIL_ON_NAMES, parse_fail_on
from headrace.bulk.item_result import item_result
from headrace.bulk.output_line import decode_line
from headrace.bulk.sources import Source
from headrace.calls import Outcome
from headrace.errors import InputError
from headrace.replies import Headers, Reply
from headrace.testing import Answer, FakeEndpoint

Lines = Callable[[Path], list[dict[str, Any]]]


def chat(text: str | None = "Garten", finish_reason: Any = "stop", **message: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"choices": [{"message": {"content": text, **message}, "finish_reason": finish_reason}]}


def response(status: str, reason: str | None = None, *parts: dict[str, Any]) -> dict[str, Any]:
    """The body of a response."""
    details = None if reason is None else {"reason": reason}
    return {"output": [{"content": list(parts)}], "status": status, "incomplete_details": details}


BODIES: list[tuple[dict[str, Any], str | None]] = [
    (chat(), "stop"),
    (chat(finish_reason=None), None),
    (chat(finish_reason=7), None),
    (chat(finish_reason="length"), "length"),
    (chat(finish_reason="MAX_TOKENS"), "length"),
    (chat(finish_reason="model_context_window_exceeded"), "length"),
    (chat(finish_reason="content_filter"), "content_filter"),
    (chat(finish_reason="SAFETY"), "content_filter"),
    (chat(finish_reason="guardrail_intervened"), "content_filter"),
    (chat(finish_reason="refusal"), "refusal"),
    (chat(None, "stop", refusal="I must not."), "refusal"),
    (chat("", "stop", refusal=""), "stop"),
    (chat(finish_reason="end_turn"), "stop"),
    (chat(finish_reason="tool_use"), "tool_calls"),
    (chat(finish_reason="a new one"), "a new one"),
    ({"choices": [{"text": "Garten", "finish_reason": "length"}]}, "length"),
    ({"choices": ["odd", chat(None, "stop", refusal="No.")["choices"][0]]}, "refusal"),
    (response("completed", None, {"type": "output_text", "text": "Garten"}), "stop"),
    (response("incomplete", "max_output_tokens", {"type": "output_text", "text": "Ga"}), "length"),
    (response("incomplete", "content_filter"), "content_filter"),
    (response("completed", None, {"type": "refusal", "refusal": "No."}), "refusal"),
    ({"data": [{"embedding": [1]}]}, None),
    ({}, None),
]


def result_of(body: Any, fail_on: Any, choices: tuple[str, ...] = ()) -> Any:
    """The result of an item with this reply."""
    reply = Reply(200, Headers([]), json.dumps(body).encode())
    return item_result(0, "x", Outcome(0, None, reply, None, 1, 0.1), choices, parse_fail_on(fail_on))


@pytest.mark.parametrize(("body", "reason"), BODIES, ids=str)
def test_each_finish_reason_has_one_name_and_fails_by_it(body: dict[str, Any], reason: str | None) -> None:
    for name in FAIL_ON_NAMES:
        result = result_of(body, name)
        assert result.finish_reason == decode_line(result.line).finish_reason == reason
        assert result.code == ("answer_error" if name == reason else None)
        assert result.answered
    assert result_of(body, "none").code is None


def test_the_message_of_a_failure_says_why() -> None:
    refused = result_of(chat(None, "stop", refusal="I must\x1b not."), "refusal")
    assert refused.message == "I must\\x1b not. (the model refuses)"
    assert result_of(chat(finish_reason="refusal"), "refusal").message == (
        "the model refuses (finish reason 'refusal')"
    )
    filtered = result_of(chat(finish_reason="SAFETY"), "content_filter").message
    assert filtered == "the endpoint's content filter stopped the answer (finish reason 'SAFETY')"
    cut_off = result_of(response("incomplete", "max_output_tokens"), "length").message
    assert cut_off == "the answer was cut off; raise max_tokens= (finish reason 'length')"


def test_a_choice_fails_by_its_finish_reason_first() -> None:
    choices = ("Garten", "Sport")
    assert result_of(chat(finish_reason="length"), "none", choices).code is None
    assert "cut off" in result_of(chat(finish_reason="length"), "length", choices).message
    refused = chat(None, "stop", refusal="No.")
    assert result_of(refused, "refusal", choices).message == "No. (the model refuses)"
    assert "is not one of the choices" in result_of(refused, "none", choices).message


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["choices", "message", "refusal", "finish_reason", "output", "content", "status",
                     "incomplete_details", "reason"]), inner), max_leaves=12))  # fmt: skip
def test_any_body_has_a_finish_reason_or_none(body: Any) -> None:
    result = result_of(body, FAIL_ON_NAMES)
    assert result.finish_reason is None or 0 < len(result.finish_reason) <= 40


def test_names_are_a_list_or_a_text() -> None:
    assert parse_fail_on("length, refusal") == parse_fail_on(["refusal", "length"]) == {"length", "refusal"}
    assert parse_fail_on("none") == parse_fail_on(()) == set()


@pytest.mark.parametrize("wrong", ["lenght", "", "length,", "stop"])
def test_an_unknown_name_is_an_error_with_the_known_ones(wrong: str) -> None:
    with pytest.raises(
        InputError, match="must be none, or some of length, content_filter, refusal"
    ) as caught:
        parse_fail_on(wrong)
    assert str(caught.value).startswith("fail_on='")


def test_none_must_be_alone() -> None:
    with pytest.raises(InputError, match="fail_on='none,length': none must be alone"):
        parse_fail_on("none, length")


@pytest.mark.anyio
async def test_refusals_fail_by_default_and_cut_off_answers_are_counted(
    products: Path, read_lines: Lines
) -> None:
    steps = [
        Answer(body=chat(None, "stop", refusal="No.")),
        Answer(body=chat(finish_reason="content_filter")),
        *[Answer(body=chat(finish_reason="length"))] * 3,
    ]
    out = products.with_name("out.jsonl")
    async with FakeEndpoint(*steps).client(max_in_flight=1) as client:
        summary = await run(client, products, prompt="{name}", out=out)
    assert (summary.succeeded, summary.failed) == (8, 2)
    assert summary.finish_reasons == {"stop": 5, "length": 3, "refusal": 1, "content_filter": 1}
    assert [(group.finish_reason, group.number) for group in summary.failure_groups] == [
        ("content_filter", 1),
        ("refusal", 1),
    ]
    assert [line["error"] and line["error"]["code"] for line in read_lines(out)] == [
        *["answer_error"] * 2,
        *[None] * 8,
    ]
    write_table(products.with_name("t.csv"), Source(products), out)
    rows = products.with_name("t.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[-4] for row in rows[1:]] == [
        *("refusal", "content_filter", "length", "length", "length"),
        *["stop"] * 5,
    ]
    # The failed ones are sent again, and another rule applies to them.
    again = FakeEndpoint(otherwise=Answer(body=chat(None, "stop", refusal="No.")))
    async with again.client() as client:
        summary = await run(client, products, prompt="{name}", out=out, retry_failed=True, fail_on="none")
    assert (len(again.attempts), summary.succeeded, summary.failed) == (2, 2, 0)


@pytest.mark.anyio
async def test_a_typed_answer_that_was_cut_off_fails_if_told_so(products: Path) -> None:
    cut_off = FakeEndpoint(otherwise=Answer(body=chat('{"stars": 5}', "length")))
    for fail_on, failed in ((["length"], 10), ("none", 0)):
        async with cut_off.client() as client:
            summary = await run(
                client,
                products,
                prompt="{name}",
                answer={"type": "object", "properties": {"stars": {"type": "integer"}}},
                fail_on=fail_on,
                out=products.with_name(f"{failed}.jsonl"),
            )
        assert summary.failed == failed


def endpoint_that_refuses() -> Any:
    """A client whose endpoint refuses to answer; made in a worker process."""
    return FakeEndpoint(otherwise=Answer(body=chat(None, "stop", refusal="No."))).client()


@pytest.mark.anyio
async def test_worker_processes_keep_the_rule(products: Path) -> None:
    summary = await run(
        functools.partial(endpoint_that_refuses),
        products,
        prompt="{name}",
        out=products.with_name("out.jsonl"),
        processes=2,
        fail_on="none",
    )
    assert (summary.succeeded, summary.finish_reasons) == (10, {"refusal": 10})
