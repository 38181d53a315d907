"""What an endpoint's list of models says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace._support.text import shown
from headrace.errors import InvalidReply
from headrace.replies import Reply


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_decode = msgspec.json.Decoder(_Models).decode


def parse_model_ids(reply: Reply) -> list[str]:
    """The ids in an answer to GET /models, in its order; raises `InvalidReply` where it holds none."""
    ids = _ids_in(reply)
    if ids is None:
        said = shown(reply.without_key(reply.content))
        failure = InvalidReply(f"{said} (GET /models: not a list of models; check base_url)")
        failure.attempts = reply.attempts
        raise failure
    return ids


def _ids_in(reply: Reply) -> list[str] | None:
    try:
        return [model.id for model in _decode(reply.content).data]
    except NOT_JSON:
        found = _listed(reply)
    ids = list(_names(found or []))
    return None if found is None or (found and not ids) else ids


def _listed(reply: Reply) -> list[Any] | None:
    """The list, which is under ``data``, ``models`` (Ollama, Gemini), or by itself (Together)."""
    try:
        body = reply.body
    except InvalidReply:
        return None
    if isinstance(body, Mapping):
        body = next((body[name] for name in ("data", "models") if isinstance(body.get(name), list)), None)
    return body if isinstance(body, list) else None


def _names(found: list[Any]) -> Iterator[str]:
    """The names of its entries; an odd one costs itself only."""
    for entry in found:
        names = [entry.get(key) for key in ("id", "model", "name")] if isinstance(entry, Mapping) else [entry]
        name = next((name for name in names if isinstance(name, str) and name), None)
        if name is not None:
            yield name
