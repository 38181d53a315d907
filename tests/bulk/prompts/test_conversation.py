"""Conversations in a column."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bulk.prompts.conversation import ConversationColumn, join
from headrace.errors import InputError

USER = {"role": "user", "content": "Hi"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()}),
    min_size=1,
)


@given(messages)
def test_a_list_and_its_json_are_the_same_conversation(conversation: list[dict[str, str]]) -> None:
    column = ConversationColumn("chat")
    assert column.read({"chat": conversation}) == conversation
    assert column.read({"chat": json.dumps(conversation)}) == conversation


def test_null_members_are_left_out_but_not_the_content() -> None:
    row = {"chat": [USER | {"name": None}, CALL | {"name": None}]}
    assert ConversationColumn("chat").read(row) == [USER, CALL]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "it is empty"),
        (" ", "it is empty"),
        ([], "it is empty"),
        ("Hi", "it is not JSON: "),
        ('"Hi"', "it is of type str"),
        ("{}", "it is of type dict"),
        (None, "it is of type NoneType"),
        (5, "it is of type int"),
        (["Hi"], "message 1 is not an object with a role"),
        ([USER, {"content": "x"}], "message 2 is not an object with a role"),
        ("\ud800", ""),
    ],
)
def test_other_values_are_errors(value: Any, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        ConversationColumn("chat").read({"chat": value})
    assert str(caught.value).startswith(f"column 'chat' must hold a list of messages; {reason}")


def test_two_system_messages_become_one() -> None:
    own: list[Any] = [{"role": "system", "content": "Be brief."}]
    join(own, [{"role": "system", "content": "Be kind.", "name": "s"}, USER])
    assert own == [{"role": "system", "content": "Be brief.\nBe kind.", "name": "s"}, USER]
    parts: list[Any] = [{"role": "system", "content": "Be brief."}]
    join(parts, [{"role": "system", "content": [{"type": "text", "text": "x"}]}])
    assert len(parts) == 2
