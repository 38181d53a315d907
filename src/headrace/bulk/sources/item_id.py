"""The id of an item as text."""

from __future__ import annotations

from headrace._support.text import shortened
from headrace.errors import InputError


def as_id(value: object, name: str, where: str) -> str:
    """The value of an id column as the id.

    Args:
        value: A text or an integer, also as a float: a column of integers with nulls is often one of floats.
        name: What the value is, for messages.
        where: The place of the row, for messages.

    Raises:
        InputError: It is empty, or another value.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InputError(
            f"{where}: {name} must be a string that is not empty, or an integer, "
            f"not {shortened(repr(value), 40)}; correct it, or name another column with id_column="
        )
    return str(value)
