"""JSON objects that stand in a text, with words or a fence around them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_IN_BRACES = re.compile(r'"(?:\\.|[^"\\])*"|[{}]', re.DOTALL)
_MOST_TRIES = 100
_decode_from = json.JSONDecoder(strict=False).raw_decode


def json_objects(text: str) -> Iterator[bytes]:
    """Each outermost object, as it stands there.

    What is in braces but not JSON is passed over whole: a part of it could be taken for an answer that it is
    not. So is an object that the end of the text cuts.
    """
    at = text.find("{")
    for _ in range(_MOST_TRIES):
        if at < 0:
            return
        try:
            _, end = _decode_from(text, at)
        except (ValueError, RecursionError):
            end = _end_of_braces(text, at)
            if end < 0:
                return
        else:
            yield text[at:end].encode("utf-8", "replace")
        at = text.find("{", end)


def unfenced(text: str) -> str:
    """What stands in the one fence of a text, else the text."""
    blocks = _FENCE.findall(text)
    return blocks[0].strip() if len(blocks) == 1 else text.strip()


def _end_of_braces(text: str, at: int) -> int:
    depth = 0
    for found in _IN_BRACES.finditer(text, at):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return -1
