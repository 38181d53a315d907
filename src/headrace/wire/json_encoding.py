"""Python's values as JSON: other libraries' numbers and strings too, and no NaN or infinity.

Other libraries' values are known by what they can do (``tolist``, ``__index__``, ``__float__``), so that none
of them is imported.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from typing import Any

import msgspec

from headrace._support.numbers import as_number
from headrace.errors import RequestError

_AS_THEY_ARE = frozenset({str, int, bool, type(None)})

_N, _I = b"NI"

_encode = msgspec.json.Encoder(decimal_format="number").encode


def encode_value(value: Any, where: str) -> bytes:
    """A value as JSON; raises `RequestError`, in which the value is called ``where``."""
    return to_plain_and_json(value, where)[1]


def to_plain_and_json(value: Any, where: str) -> tuple[Any, bytes]:
    """A value and its JSON; in the value, what msgspec does not know is replaced by what it stands for."""
    try:
        content = _encode(value)
    except (TypeError, ValueError, RecursionError):
        value = _plain_or_refused(value, where)
        return value, _encode(value)
    # A float that is not a number is written as null, a Decimal as itself. One letter is found much faster
    # than a word, and is seldom there; ``in`` would ask first whether bytes are a number.
    if (
        content.find(b"null") >= 0
        or (_N in content and content.find(b"NaN") >= 0)
        or (_I in content and content.find(b"Infinity") >= 0)
    ) and _is_doubtful(value):
        _plain_or_refused(value, where)
    return value, content


def _plain_or_refused(value: Any, where: str) -> Any:
    """A value that can be written; raises `RequestError` for any other."""
    try:
        value = plain(value, where)
        _encode(value)
    except (TypeError, UnicodeError, RecursionError) as error:
        raise RequestError(f"{where} cannot be written as JSON: {error}") from error
    return value


def _is_doubtful(value: Any) -> bool:
    """False for what holds nothing but Python's own types and finite numbers."""
    kind = type(value)
    if kind is dict:
        value = value.values()
    elif kind is not list:
        return kind not in _AS_THEY_ARE and not (kind is float and math.isfinite(value))
    return any(type(each) not in _AS_THEY_ARE and _is_doubtful(each) for each in value)


def plain(value: Any, where: str) -> Any:
    """A value of Python's own types alone; raises `RequestError` that names the place of any other."""
    kind = type(value)
    if kind in _AS_THEY_ARE or isinstance(value, msgspec.Raw):
        return value
    if kind is float or kind is Decimal:
        if not (math.isfinite(value) if kind is float else value.is_finite()):
            raise RequestError(f"{where} is {value}, not a number in JSON; leave it out, or send None")
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value  # which msgspec writes as base64
    if isinstance(value, Mapping):
        return {_key(name, where): plain(each, f"{where}.{name}") for name, each in value.items()}
    if isinstance(value, (Sequence, Set)):
        return [plain(each, f"{where}[{index}]") for index, each in enumerate(value)]
    if isinstance(value, enum.Enum):
        return plain(value.value, where)
    return plain(_of_others(value, where), where)


def _of_others(value: Any, where: str) -> Any:
    """What a value of another library's type stands for."""
    kind = type(value)
    if hasattr(value, "tolist"):  # arrays and their elements, of NumPy and whoever follows it
        there = value.tolist()
        if there is not None and type(there) is not kind:
            return there
    number = as_number(value)
    if number is not None:
        return number

    def within(each: Any) -> Any:
        if each is value:
            raise TypeError("msgspec does not know it either")
        return plain(each, where)

    try:
        return msgspec.to_builtins(value, builtin_types=(Decimal,), enc_hook=within)
    except TypeError:
        raise RequestError(f"{where} is of type {kind.__name__}, which cannot be written as JSON") from None


def _key(name: Any, where: str) -> Any:
    if isinstance(name, str):
        return str.__str__(name)
    if name is None or isinstance(name, bool):
        raise RequestError(f"{where} has the key {name!r}; in JSON keys are strings")
    number = as_number(name)
    return name if number is None else number
