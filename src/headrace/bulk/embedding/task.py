"""Makes the request that embeds the text of one row."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence, Set
from typing import Any

import attrs

from headrace._support.text import quoted
from headrace.bulk.nested_keys import explain_missing, find_value, value_at
from headrace.bulk.sources import Item, TaskInput
from headrace.bulk.task import OnMissing
from headrace.bulk.template import as_text
from headrace.calls import Request
from headrace.client.embeddings import embeddings_body
from headrace.errors import InputError, RequestError
from headrace.wire.request_bodies import encode_body, encode_json
from headrace.wire.structured_output import ResponseFormat

_MADE_HERE = ("model", "input", "dimensions")


@attrs.frozen(kw_only=True)
class EmbeddingTask:
    """Makes the request for each item of a run that embeds texts; see `headrace.bulk.run`.

    Args:
        source: The items.
        column: The column of the texts, or a key like ``a.b``.
        model: The model.
        dimensions: The length of the vectors; None for that of the model.
        extra_body: Members of each request's body that only your endpoint has.
        on_missing: What happens if a row lacks the column; as for `Task`.

    Attributes:
        choices: None: a vector is not chosen, has no type of its own, and no finish reason.
        answer: None.
        fail_on: None.

    Raises:
        InputError: An argument is not valid.
    """

    source: TaskInput
    column: str | None
    model: str | None
    dimensions: int | None = None
    extra_body: Mapping[str, Any] = attrs.field(factory=dict)
    on_missing: OnMissing = "refuse"
    choices: Sequence[str] = attrs.field(default=(), init=False, repr=False)
    answer: ResponseFormat | None = attrs.field(default=None, init=False, repr=False)
    fail_on: Set[str] = attrs.field(default=frozenset(), init=False, repr=False)
    _body: dict[str, Any] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if self.source.kind == "batch":
            raise InputError(
                f"{self.source.name}: this is OpenAI's batch format, whose lines are whole requests; "
                'leave out task="embed"'
            )
        if self.column is None:
            raise InputError("column= is missing; name the column of the texts")
        if self.model is None:
            raise InputError("no model: set model=, or HEADRACE_MODEL")
        if self.on_missing not in ("refuse", "fail-row"):
            raise InputError(f"on_missing={self.on_missing!r}: must be 'refuse' or 'fail-row'")
        if not isinstance(self.extra_body, Mapping):
            raise InputError(f"extra_body=: must be a mapping, not {type(self.extra_body).__name__}")
        if made := [name for name in _MADE_HERE if name in self.extra_body]:
            raise InputError(f"extra_body=: {made[0]} is in each request already; leave it out here")
        try:
            body = {"model": self.model, **embeddings_body(self.dimensions), **self.extra_body}
            encode_body(body)
        except RequestError as error:
            raise InputError(str(error)) from None
        object.__setattr__(self, "_body", body)

    def digest(self, item: Item) -> int:
        """A checksum of the text; never 0."""
        assert self.column is not None
        return zlib.crc32(encode_json(find_value(item.row, self.column))) or 1

    def check_item(self, item: Item) -> None:
        """Raise `InputError` for an item that lacks the column, unless ``on_missing`` allows it."""
        if self.on_missing == "refuse":
            self._value(item)

    def request(self, item: Item) -> Request:
        """The request for the text of an item alone.

        Raises:
            InputError: The item has no text. This concerns the item only.
        """
        if item.error is not None:
            raise item.error
        text = as_text(self._value(item))
        where = f"{self.source.where(item.line)}: column {quoted(self.column)}"
        if not text:
            raise InputError(f"{where} is empty, and endpoints embed no empty text")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(f"{where} is not valid Unicode: a lone surrogate at {error.start}") from None
        return Request({**self._body, "input": text}, "/embeddings", id=item.id)

    def _value(self, item: Item) -> Any:
        assert self.column is not None
        try:
            return value_at(item.row, self.column)
        except KeyError:
            where, why = self.source.where(item.line), explain_missing(item.row, self.column)
            raise InputError(f"{where}: no column {quoted(self.column)} for the text; {why}") from None

    def fingerprint(self) -> dict[str, Any]:
        """The values that must be the same when a run is resumed; the items may differ."""
        return {
            "task": "embed",
            "column": self.column,
            "model": self.model,
            "dimensions": self.dimensions,
            "extra_body": dict(self.extra_body) or None,
            "id_column": self.source.id_column,
        }
