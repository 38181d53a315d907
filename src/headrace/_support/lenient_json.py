"""JSON as endpoints write it: strictly first, and leniently where the strict decoder refuses.

What is taken besides RFC 8259: a byte order mark, bytes that are not UTF-8 and halves of surrogate pairs
(both become U+FFFD), control characters within strings, ``NaN`` and ``Infinity``.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are not JSON, or that are nested too deeply for this process."""

_BOM = "\ufeff"
_SURROGATE = re.compile("[\ud800-\udfff]")
_lenient = json.JSONDecoder(strict=False).decode
_strict = msgspec.json.Decoder().decode


def decode_json(content: bytes) -> Any:
    """The value that ``content`` holds; raises one of `NOT_JSON` where it holds none."""
    try:
        return _strict(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return decode_leniently(content)


def decode_leniently(content: bytes) -> Any:
    """The same for what the strict decoder has refused."""
    text = content.decode("utf-8", "replace").removeprefix(_BOM).strip()
    try:
        value = _lenient(text)
    except ValueError as error:  # also an integer of more digits than Python converts
        raise msgspec.DecodeError(str(error)) from None
    return without_surrogates(value) if "\\" in text else value


def without_surrogates(value: Any) -> Any:
    """A JSON value whose strings can be written as UTF-8."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {without_surrogates(name): without_surrogates(each) for name, each in value.items()}
    return value
