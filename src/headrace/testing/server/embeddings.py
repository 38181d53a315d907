"""Embeddings: unit vectors that depend on the seed, the model and the text, and mean nothing."""

import math
import struct
from base64 import b64encode
from hashlib import shake_128
from typing import Annotated, Literal

import attrs
import msgspec
from msgspec import Meta

from headrace.testing.server.seeded_random import fingerprint
from headrace.testing.server.tokenizer import count_tokens

DIMENSIONS = 256
"""The default length of a vector."""


@attrs.frozen(kw_only=True)
class EmbeddingsRequest:
    """The fields of an embeddings request that the endpoint uses; other fields are ignored."""

    model: str
    input: str | Annotated[list[str], Meta(min_length=1, max_length=2048)]
    dimensions: Annotated[int, Meta(ge=1, le=4096)] | None = None
    encoding_format: Literal["float", "base64"] | None = None

    def texts(self) -> list[str]:
        """The texts to embed."""
        return [self.input] if isinstance(self.input, str) else self.input


def create_embeddings(request: EmbeddingsRequest, *, seed: int) -> bytes:
    """The body of the reply to an embeddings request; both encodings hold the same numbers."""
    texts = request.texts()
    dimensions = request.dimensions or DIMENSIONS
    data = []
    for index, text in enumerate(texts):
        vector = _unit_vector(fingerprint(seed, request.model.encode(), text.encode()), dimensions)
        embedding = (
            b64encode(vector).decode()
            if request.encoding_format == "base64"
            else struct.unpack(f"<{dimensions}f", vector)
        )
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    tokens = sum(map(count_tokens, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": request.model, "usage": usage})


def _unit_vector(random_bytes: bytes, dimensions: int) -> bytes:
    drawn = struct.unpack(f"<{dimensions}h", shake_128(random_bytes).digest(2 * dimensions))
    # Odd numbers only: a vector of zeros has no direction.
    numbers = [number | 1 for number in drawn]
    length = math.sqrt(sum(number * number for number in numbers))
    return struct.pack(f"<{dimensions}f", *(number / length for number in numbers))
