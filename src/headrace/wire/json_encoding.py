"""Encodes Python's values as JSON, including those of other libraries, but not NaN and infinity.

Values of other libraries are recognised by their methods (``tolist``, ``__index__``, ``__float__``), so that
no library is imported.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from typing import Any

import msgspec

from headrace._support.numbers import as_number
from headrace.errors import InputError, RequestError
from headrace.wire.message_part import MessagePart

_JSON_TYPES = frozenset({str, int, bool, type(None)})

_LETTER_N, _LETTER_I = b"NI"


def _part_as_dict(value: Any) -> dict[str, Any]:
    """Read the content of a message part; raise TypeError for a value of another type."""
    if isinstance(value, MessagePart):
        return dict(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=_part_as_dict).encode


def encode_value(value: Any, where: str) -> bytes:
    """Return a value as JSON; raise `RequestError` with the name ``where`` for an unsupported value."""
    return to_plain_and_json(value, where)[1]


def to_plain_and_json(value: Any, where: str) -> tuple[Any, bytes]:
    """Return a value, with unsupported types converted to Python's own, and its JSON."""
    try:
        content = _encode(value)
    except (RequestError, InputError):  # of a message part
        raise
    except (TypeError, ValueError, RecursionError):
        value = _to_encodable(value, where)
        return value, _encode(value)
    # msgspec writes a float NaN as null, a Decimal NaN as NaN. Searching for a letter is much faster than for
    # a word, and these letters are rare. ``find`` is faster than ``in``, which checks for an integer first.
    if (
        content.find(b"null") >= 0
        or (_LETTER_N in content and content.find(b"NaN") >= 0)
        or (_LETTER_I in content and content.find(b"Infinity") >= 0)
    ) and _may_contain_nan(value):
        _to_encodable(value, where)
    return value, content


def _to_encodable(value: Any, where: str) -> Any:
    """Return a value that msgspec can encode; raise `RequestError` if there is none."""
    try:
        value = to_plain(value, where)
        _encode(value)
    except (TypeError, UnicodeError, RecursionError) as error:
        raise RequestError(f"{where} cannot be written as JSON: {error}") from error
    return value


def _may_contain_nan(value: Any) -> bool:
    """Return False if a value contains only Python's own types and finite numbers."""
    kind = type(value)
    if kind is dict:
        value = value.values()
    elif kind is not list:
        if kind in _JSON_TYPES or (kind is float and math.isfinite(value)):
            return False
        return not isinstance(value, MessagePart)  # whose base64 may contain these words
    return any(type(each) not in _JSON_TYPES and _may_contain_nan(each) for each in value)


def to_plain(value: Any, where: str) -> Any:
    """Return a value converted to Python's own types; raise `RequestError` with the place of an unsupported
    one.
    """
    kind = type(value)
    if kind in _JSON_TYPES or isinstance(value, msgspec.Raw):
        return value
    if kind is float or kind is Decimal:
        if not (math.isfinite(value) if kind is float else value.is_finite()):
            raise RequestError(f"{where} is {value}, which JSON cannot represent; leave it out, or send None")
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value  # msgspec encodes it as base64
    if isinstance(value, MessagePart):
        return value  # the encoder reads its content
    if isinstance(value, Mapping):
        return {_to_key(name, where): to_plain(each, f"{where}.{name}") for name, each in value.items()}
    if isinstance(value, (Sequence, Set)):
        return [to_plain(each, f"{where}[{index}]") for index, each in enumerate(value)]
    if isinstance(value, enum.Enum):
        return to_plain(value.value, where)
    return to_plain(_convert_foreign(value, where), where)


def _convert_foreign(value: Any, where: str) -> Any:
    """Return the Python value for a value of another library's type."""
    kind = type(value)
    if hasattr(value, "tolist"):  # arrays and their elements, of NumPy and similar libraries
        converted = value.tolist()
        if converted is not None and type(converted) is not kind:
            return converted
    number = as_number(value)
    if number is not None:
        return number

    def convert_nested(each: Any) -> Any:
        if each is value:
            raise TypeError("msgspec does not support it either")
        return to_plain(each, where)

    try:
        return msgspec.to_builtins(value, builtin_types=(Decimal,), enc_hook=convert_nested)
    except TypeError:
        raise RequestError(f"{where} is of type {kind.__name__}, which cannot be written as JSON") from None


def _to_key(name: Any, where: str) -> Any:
    """Return the key of an object: a string or a number."""
    if isinstance(name, str):
        return str.__str__(name)
    if name is None or isinstance(name, bool):
        raise RequestError(f"{where} has the key {name!r}; in JSON keys are strings")
    number = as_number(name)
    return name if number is None else number
