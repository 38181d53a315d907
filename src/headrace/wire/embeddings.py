"""The vectors in an answer to POST /embeddings: read typed where it is as usual, else item by item."""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace.errors import InvalidReply
from headrace.replies import Reply

Vector: TypeAlias = "array[float]"


class _Vector(msgspec.Struct):
    # Asked for as base64 of 32-bit floats: measured, a fourth of the bytes and a fifteenth of the time of
    # numbers in text. Endpoints that know no encoding_format answer with numbers all the same.
    embedding: bytes | list[float]
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Vector]


_decode = msgspec.json.Decoder(_Answer).decode


def parse_vectors(reply: Reply, count: int) -> list[Vector]:
    """The vectors in a reply, in the order of the texts.

    Raises:
        InvalidReply: There is not one for each of ``count`` texts, or one is not of numbers.
    """
    try:
        found = [(vector.index, vector.embedding) for vector in _decode(reply.content).data]
    except NOT_JSON:
        found = _read_leniently(reply)
    if len(found) != count:
        raise InvalidReply(f"POST /embeddings: {len(found)} vectors came for {count} texts")
    places = _places([index for index, _ in found], count)
    vectors: list[Vector] = [array("f")] * count
    for place, (_, embedding) in zip(places, found, strict=True):
        try:
            vectors[place] = _numbers(embedding)
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidReply(f"POST /embeddings: the vector of text {place} {error}") from None
    return vectors


def _read_leniently(reply: Reply) -> list[tuple[int | None, Any]]:
    """Indices and embeddings of an unusual answer."""
    body = reply.body
    if isinstance(body, Mapping):
        body = next((body[name] for name in ("data", "embeddings") if isinstance(body.get(name), list)), None)
    if not isinstance(body, list):
        raise InvalidReply("POST /embeddings: the answer holds no list of vectors")
    return [
        (_index(entry.get("index")), entry.get("embedding")) if isinstance(entry, Mapping) else (None, entry)
        for entry in body
    ]


def _index(index: Any) -> int | None:
    try:
        return int(index) if float(index) == int(index) else None
    except (ValueError, TypeError, OverflowError):
        return None


def _places(indices: list[int | None], count: int) -> list[int]:
    """For each vector the place of its text: its index, or its own place where none has an index."""
    if count == 1 or all(index is None or index == 0 for index in indices):
        return list(range(count))
    places = [-1 if index is None else index for index in indices]
    if sorted(places) != list(range(count)):
        raise InvalidReply(f"POST /embeddings: the vectors' indices are not 0 to {count - 1}, each once")
    return places


def _numbers(embedding: Any) -> Vector:
    if isinstance(embedding, list):
        if len(embedding) == 1 and isinstance(embedding[0], list):
            embedding = embedding[0]  # llama.cpp's, of a model without pooling
        vector = array("f", embedding) if all(map(_is_number, embedding)) else array("f")
    else:
        vector = array("f")
        vector.frombytes(_decoded(embedding))
        if sys.byteorder == "big":
            vector.byteswap()
    if not vector:
        raise ValueError("is empty, or holds what is not a number")
    return vector


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _decoded(embedding: Any) -> bytes:
    if isinstance(embedding, bytes):
        return embedding
    if not isinstance(embedding, str):
        raise ValueError(f"is {type(embedding).__name__}, not numbers or base64 of numbers")
    try:
        return base64.b64decode(embedding, validate=True)
    except binascii.Error as error:
        raise ValueError(f"is not base64: {error}") from None
