"""Whole conversations: lists of messages in a column, or returned by a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.nested_keys import check_key, value_at
from headrace.errors import InputError
from headrace.wire.request_bodies import Message


def check_messages(value: Any) -> list[Message]:
    """Return the messages as a list; raise `ValueError`, with a reason, for anything else.

    Members that are null are left out, except for ``content``: rows of a Parquet file have all members that
    any message of the file has, and the API rejects some that are null.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise ValueError(f"it is of type {type(value).__name__}")
    if not value:
        raise ValueError("it is empty")
    messages: list[Message] = []
    for number, message in enumerate(value, 1):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(f"message {number} is not an object with a role")
        messages.append(
            {name: each for name, each in message.items() if each is not None or name == "content"}
        )
    return messages


@attrs.frozen
class ConversationColumn:
    """A column with a conversation in each row: a list of messages, or their JSON.

    Args:
        column: The column, or a key with dots as in a template.
    """

    column: str

    def check(self, row: Mapping[str, Any], where: str) -> None:
        """Raise `InputError` if the row lacks the column; the message begins with ``where``."""
        check_key(row, self.column, "the messages", where)

    def read(self, row: Mapping[str, Any]) -> list[Message]:
        """The messages of one row; raises `InputError` if there are none, or they are not valid."""
        value = value_at(row, self.column)
        try:
            if isinstance(value, str):
                value = msgspec.json.decode(value)
            return check_messages(value)
        except NOT_JSON as error:  # a subclass of ValueError
            reason = "it is empty" if not value.strip() else f"it is not JSON: {error}"
        except ValueError as error:
            reason = str(error)
        raise InputError(f"column {self.column!r} must hold a list of messages; {reason}")


def add_parts(messages: list[Message], parts: Sequence[Mapping[str, Any]]) -> None:
    """Add parts to the last message if it is the user's, else as a new message."""
    last = messages[-1] if messages else {}
    if last.get("role") != "user":
        messages.append({"role": "user", "content": list(parts)})
        return
    content = last.get("content") or []
    before = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    messages[-1] = {**last, "content": [*before, *parts]}


def join(messages: list[Message], conversation: Sequence[Message]) -> None:
    """Append a conversation to the messages before it.

    If both begin with a system message, these become one: many endpoints reject a second one.
    """
    if len(messages) == 1 and messages[0]["role"] == conversation[0]["role"] == "system":
        own, other = messages[0]["content"], conversation[0].get("content")
        if isinstance(other, str):
            messages[0] = {**conversation[0], "content": f"{own}\n{other}"}
            conversation = conversation[1:]
    messages += conversation
