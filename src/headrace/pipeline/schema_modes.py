"""How an endpoint is asked for an answer of a type: in the strictest way that it has not refused."""

from __future__ import annotations

import re

from headrace.endpoint import Endpoint
from headrace.wire.structured_output import ResponseFormat, SchemaMode

_MOST_SCHEMAS = 1000
"""Refused schemas that are remembered; a program may make schemas without end."""

_ABOUT_IT = re.compile(rb"response[_ ]?format|json[_ ]?(schema|object)|schema|grammar", re.IGNORECASE)
_NOT_KNOWN = re.compile(
    rb"support|unavailable|not available|unknown|unrecogni[sz]ed|unexpected|extra|"
    rb"not (permitted|allowed|implemented)|(must|should) be|expected|one of",
    re.IGNORECASE,
)
_THIS_SCHEMA = re.compile(
    rb"invalid (json[_ ])?schema|schema (is |was )?(invalid|not valid)|schema for|schema conversion|"
    rb"(compil|convert|pars|process)\w* [^.]{0,30}schema|grammar|in context=",
    re.IGNORECASE,
)


def refuses_format(content: bytes) -> bool:
    """Whether an answer of status 400 or 422 is about the way in which it was asked for."""
    return _ABOUT_IT.search(content) is not None


class SchemaModes:
    """What endpoints refused: a way of asking, by their model, or a single schema.

    A schema that is refused says nothing about others. Where an endpoint does not say that it does not know
    schemas at all, each is tried once.
    """

    def __init__(self) -> None:
        self._ways: set[tuple[Endpoint, str | None, SchemaMode]] = set()
        self._schemas: set[tuple[Endpoint, str | None, ResponseFormat]] = set()

    def left(self, endpoint: Endpoint, model: str | None, answer: ResponseFormat) -> list[SchemaMode]:
        """The ways that are left, the strictest first; the last of them is always in words."""
        left = [how for how in SchemaMode if (endpoint, model, how) not in self._ways]
        if (endpoint, model, answer) in self._schemas and left[0] is SchemaMode.JSON_SCHEMA:
            del left[0]
        return left

    def refused(
        self, endpoint: Endpoint, model: str | None, answer: ResponseFormat, how: SchemaMode, content: bytes
    ) -> None:
        """Remember that asking so was refused in these words, and that asking otherwise was not."""
        unknown = _NOT_KNOWN.search(content) and not _THIS_SCHEMA.search(content)
        if how is SchemaMode.JSON_SCHEMA and not unknown:
            if len(self._schemas) == _MOST_SCHEMAS:
                self._schemas.clear()
            self._schemas.add((endpoint, model, answer))
        else:
            self._ways.add((endpoint, model, how))
