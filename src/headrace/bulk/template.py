"""Prompt templates: `{column}` and `{column.key}` are replaced by values of the row, `{{` by a brace."""

from __future__ import annotations

import base64
import string
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from headrace.bulk.nested_keys import check_key, value_at
from headrace.errors import InputError
from headrace.wire.request_bodies import encode_json

Part: TypeAlias = Literal["prompt", "system"]
"""The part of a request that a template makes."""

PART_NAMES: dict[Part, str] = {"prompt": "the prompt", "system": "the system message"}


@attrs.frozen
class Template:
    """A prompt with column names in braces.

    ``{a.b}`` is the column with that name, or else the key ``b`` of the object in column ``a``. Attributes,
    indexes and formats are not allowed, so a template can read only the values of its row.

    Args:
        text: The text.
        part: What it makes, "prompt" or "system".
        file: The file that the text is from, for messages; None for none.

    Attributes:
        columns: The columns that the template names, in order, each once.

    Raises:
        InputError: The text is not a valid template.
    """

    text: str
    part: Part = "prompt"
    file: str | None = None
    columns: tuple[str, ...] = attrs.field(init=False, repr=False, eq=False)
    _pieces: tuple[tuple[str, str | None], ...] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        pieces, name = [], self.file or f"{self.part}="
        try:
            for literal, field, spec, conversion in string.Formatter().parse(self.text):
                if field is not None and (not field or spec or conversion):
                    written = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                    raise InputError(
                        f"{name}: '{{{written}}}' must hold only the name of a column; write {{{{ for a brace"
                    )
                pieces.append((literal, field))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{name}: {error}; write {{{{ and }}}} for braces") from None
        object.__setattr__(self, "_pieces", tuple(pieces))
        columns = dict.fromkeys(field for _, field in pieces if field is not None)
        object.__setattr__(self, "columns", tuple(columns))

    def check(self, row: Mapping[str, Any], where: str) -> None:
        """Raise `InputError` if the row lacks a column; the message begins with ``where``."""
        for column in self.columns:
            check_key(row, column, PART_NAMES[self.part], where)

    def render(self, row: Mapping[str, Any]) -> str:
        """The prompt for one row; values are converted with `as_text`."""
        parts = []
        for literal, field in self._pieces:
            parts.append(literal)
            if field is not None:
                parts.append(as_text(row[field] if field in row else value_at(row, field)))
        return "".join(parts)


def as_text(value: Any) -> str:
    """A row's value as text: strings unchanged, null as an empty string, bytes as base64, others as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else encode_json(value).decode()
