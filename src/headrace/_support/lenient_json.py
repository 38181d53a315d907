"""JSON as endpoints write it: decoded strictly first, then leniently if the strict decoder fails.

The lenient decoder also accepts a byte order mark, bytes that are not UTF-8 and lone surrogates (both become
U+FFFD), control characters in strings, ``NaN`` and ``Infinity``, all of which RFC 8259 forbids.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors of decoding bytes that are not JSON, or are nested too deeply."""

_BOM = "\ufeff"
_SURROGATE = re.compile("[\ud800-\udfff]")
_lenient = json.JSONDecoder(strict=False).decode
_strict = msgspec.json.Decoder().decode


def decode_json(content: bytes) -> Any:
    """Decode JSON, leniently if necessary; raises one of `NOT_JSON`."""
    try:
        return _strict(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return decode_leniently(content)


def decode_leniently(content: bytes) -> Any:
    """Decode content that the strict decoder has refused; raises one of `NOT_JSON`."""
    text = content.decode("utf-8", "replace").removeprefix(_BOM).strip()
    try:
        value = _lenient(text)
    except ValueError as error:  # also an integer with more digits than Python converts
        raise msgspec.DecodeError(str(error)) from None
    return without_surrogates(value) if "\\" in text else value


def without_surrogates(value: Any) -> Any:
    """A JSON value with lone surrogates replaced by U+FFFD, so that it can be encoded as UTF-8."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {without_surrogates(name): without_surrogates(each) for name, each in value.items()}
    return value
