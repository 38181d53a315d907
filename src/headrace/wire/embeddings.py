"""The vectors in an answer to POST /embeddings.

A usual answer is decoded in one step, by types; any other item by item.
"""

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
from headrace._support.units import format_count
from headrace.errors import InvalidReply
from headrace.replies import Reply

Vector: TypeAlias = "array[float]"


class _Vector(msgspec.Struct):
    # Requests use base64 of 32-bit floats, which takes a quarter of the bytes and a fifteenth of the time of
    # decimal numbers (measured). Endpoints that do not support encoding_format still answer with numbers.
    embedding: bytes | list[float]
    index: int | None = None


class _EmbeddingsBody(msgspec.Struct):
    data: list[_Vector]


_decode = msgspec.json.Decoder(_EmbeddingsBody).decode


def parse_vectors(reply: Reply, count: int) -> list[Vector]:
    """Return the vectors in a reply, in the order of the texts.

    Args:
        reply: The reply to POST /embeddings.
        count: How many texts were sent.

    Raises:
        InvalidReply: There is not one vector for each text, or a vector does not consist of numbers.
    """
    try:
        found = [(vector.index, vector.embedding) for vector in _decode(reply.content).data]
    except NOT_JSON:
        found = _read_leniently(reply)
    if len(found) != count:
        raise InvalidReply(
            f"POST /embeddings: {format_count(len(found), 'vector')} received "
            f"for {format_count(count, 'text')}"
        )
    positions = _text_positions([index for index, _ in found], count)
    vectors: list[Vector] = [array("f")] * count
    for position, (_, embedding) in zip(positions, found, strict=True):
        try:
            vectors[position] = _to_vector(embedding)
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidReply(f"POST /embeddings: the vector of text {position} {error}") from None
    return vectors


def vector_bytes(vector: Vector) -> bytes:
    """The numbers of a vector as 32-bit floats, little-endian on any machine."""
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return vector.tobytes()


def encode_vector(vector: Vector) -> str:
    """A vector in base64, as endpoints send it."""
    return base64.b64encode(vector_bytes(vector)).decode()


def _read_leniently(reply: Reply) -> list[tuple[int | None, Any]]:
    """Return the index and the embedding of each item of an unusual answer."""
    body = reply.body
    if isinstance(body, Mapping):
        body = next((body[name] for name in ("data", "embeddings") if isinstance(body.get(name), list)), None)
    if not isinstance(body, list):
        raise InvalidReply("POST /embeddings: the answer holds no list of vectors")
    return [
        (_parse_index(entry.get("index")), entry.get("embedding"))
        if isinstance(entry, Mapping)
        else (None, entry)
        for entry in body
    ]


def _parse_index(index: Any) -> int | None:
    try:
        return int(index) if float(index) == int(index) else None
    except (ValueError, TypeError, OverflowError):
        return None


def _text_positions(indices: list[int | None], count: int) -> list[int]:
    """Return the position of each vector's text: its index, or its own position if no vector has an index."""
    if count == 1 or all(index is None or index == 0 for index in indices):
        return list(range(count))
    positions = [-1 if index is None else index for index in indices]
    if sorted(positions) != list(range(count)):
        raise InvalidReply(f"POST /embeddings: the vectors' indices are not 0 to {count - 1}, each once")
    return positions


def _to_vector(embedding: Any) -> Vector:
    if isinstance(embedding, list):
        if len(embedding) == 1 and isinstance(embedding[0], list):
            embedding = embedding[0]  # llama.cpp, for a model without pooling
        vector = array("f", embedding) if all(map(_is_number, embedding)) else array("f")
    else:
        vector = array("f")
        vector.frombytes(_to_bytes(embedding))
        if sys.byteorder == "big":
            vector.byteswap()
    if not vector:
        raise ValueError("is empty, or contains a value that is not a number")
    return vector


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _to_bytes(embedding: Any) -> bytes:
    if isinstance(embedding, bytes):
        return embedding
    if not isinstance(embedding, str):
        raise ValueError(f"is {type(embedding).__name__}, not numbers or base64 of numbers")
    try:
        return base64.b64decode(embedding, validate=True)
    except binascii.Error as error:
        raise ValueError(f"is not base64: {error}") from None
