"""Chooses how to request a typed answer: in the strictest mode that the endpoint has not rejected."""

from __future__ import annotations

import re

from headrace.endpoint import Endpoint
from headrace.wire.structured_output import ResponseFormat, SchemaMode

_MAX_SCHEMAS = 1000
"""How many rejected schemas are remembered; a program may use any number of schemas."""

_ABOUT_FORMAT = re.compile(rb"response[_ ]?format|json[_ ]?(schema|object)|schema|grammar", re.IGNORECASE)
_NOT_SUPPORTED = re.compile(
    rb"support|unavailable|not available|unknown|unrecogni[sz]ed|unexpected|extra|"
    rb"not (permitted|allowed|implemented)|(must|should) be|expected|one of",
    re.IGNORECASE,
)
_ABOUT_THIS_SCHEMA = re.compile(
    rb"invalid (json[_ ])?schema|schema (is |was )?(invalid|not valid)|schema for|schema conversion|"
    rb"(compil|convert|pars|process)\w* [^.]{0,30}schema|grammar|in context=",
    re.IGNORECASE,
)


def rejects_format(content: bytes) -> bool:
    """Whether the body of a 400 or 422 is about the requested format."""
    return _ABOUT_FORMAT.search(content) is not None


class SchemaModes:
    """Remembers which modes an endpoint rejects for a model, and which schemas.

    A rejected schema implies nothing for other schemas. Unless an endpoint reports that it supports no
    schemas at all, each schema is tried once.
    """

    def __init__(self) -> None:
        self._rejected_modes: set[tuple[Endpoint, str | None, SchemaMode]] = set()
        self._rejected_schemas: set[tuple[Endpoint, str | None, ResponseFormat]] = set()

    def remaining(self, endpoint: Endpoint, model: str | None, answer: ResponseFormat) -> list[SchemaMode]:
        """The modes to try, strictest first; the last one is always PROMPT."""
        modes = [mode for mode in SchemaMode if (endpoint, model, mode) not in self._rejected_modes]
        if (endpoint, model, answer) in self._rejected_schemas and modes[0] is SchemaMode.JSON_SCHEMA:
            del modes[0]
        return modes

    def reject(
        self, endpoint: Endpoint, model: str | None, answer: ResponseFormat, mode: SchemaMode, content: bytes
    ) -> None:
        """Remember that this mode was rejected with this body while a later mode was accepted."""
        unknown = _NOT_SUPPORTED.search(content) and not _ABOUT_THIS_SCHEMA.search(content)
        if mode is SchemaMode.JSON_SCHEMA and not unknown:
            if len(self._rejected_schemas) == _MAX_SCHEMAS:
                self._rejected_schemas.clear()
            self._rejected_schemas.add((endpoint, model, answer))
        else:
            self._rejected_modes.add((endpoint, model, mode))
