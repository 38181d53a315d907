"""Ids of rows without an id column, made of their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from headrace.bulk.id_table import IdTable
from headrace.wire.request_bodies import encode_json

_ID_SIZE = 8
_COUNT_SIZE = 4


class ContentIds:
    """Makes ids for the rows of one pass over an input.

    An id is a hash of 64 bits of the row, in hex. It does not depend on the row's place, so it stays the same
    if other rows are added or removed. The second of two equal rows gets the suffix ``-2``, and so on.
    """

    def __init__(self) -> None:
        self._counts = IdTable(_COUNT_SIZE)

    def id_of(self, row: Mapping[str, Any]) -> str:
        """The id of the next row."""
        id = hashlib.blake2b(encode_json(row), digest_size=_ID_SIZE).hexdigest()
        before = self._counts.get(id)
        occurrence = 1 if before is None else int.from_bytes(before) + 1
        self._counts.set(id, occurrence.to_bytes(_COUNT_SIZE))
        return id if occurrence == 1 else f"{id}-{occurrence}"
