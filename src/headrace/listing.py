"""What an endpoint's list of models says."""

from __future__ import annotations

import msgspec

from headrace.errors import InvalidReply
from headrace.reply import Reply


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_decode = msgspec.json.Decoder(_Models).decode


def model_ids(reply: Reply) -> list[str]:
    """The ids in an answer to GET /models, in its order; raises `InvalidReply` where it is no such list."""
    try:
        return [model.id for model in _decode(reply.content).data]
    except ValueError as error:  # msgspec's errors are such
        failure = InvalidReply(f"GET /models: no list of models; check base_url: {error}")
        failure.attempts = reply.attempts
        raise failure from error
