"""The model ids in an endpoint's answer to GET /models."""

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


class _ModelsList(msgspec.Struct):
    data: list[_Model]


_decode = msgspec.json.Decoder(_ModelsList).decode


def parse_model_ids(reply: Reply) -> list[str]:
    """Return the ids in an answer to GET /models, in its order; raise `InvalidReply` if it has none."""
    ids = _find_ids(reply)
    if ids is None:
        content = shown(reply.without_key(reply.content))
        error = InvalidReply(f"{content} (GET /models: not a list of models; check base_url)")
        error.attempts = reply.attempts
        raise error
    return ids


def _find_ids(reply: Reply) -> list[str] | None:
    """Return the ids, None if there is no list or no id in a list that is not empty."""
    try:
        return [model.id for model in _decode(reply.content).data]
    except NOT_JSON:
        entries = _find_list(reply)
    ids = list(_entry_names(entries or []))
    return None if entries is None or (entries and not ids) else ids


def _find_list(reply: Reply) -> list[Any] | None:
    """Return the list: under ``data``, under ``models`` (Ollama, Gemini), or the whole body (Together)."""
    try:
        body = reply.body
    except InvalidReply:
        return None
    if isinstance(body, Mapping):
        body = next((body[name] for name in ("data", "models") if isinstance(body.get(name), list)), None)
    return body if isinstance(body, list) else None


def _entry_names(entries: list[Any]) -> Iterator[str]:
    """Yield the name of each entry, and skip an entry without one."""
    for entry in entries:
        names = [entry.get(key) for key in ("id", "model", "name")] if isinstance(entry, Mapping) else [entry]
        name = next((name for name in names if isinstance(name, str) and name), None)
        if name is not None:
            yield name
