"""Finds JSON objects in a text that also contains words or code fences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_FENCED_BLOCK = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_STRING_OR_BRACE = re.compile(r'"(?:\\.|[^"\\])*"|[{}]', re.DOTALL)
_MAX_OBJECTS = 100
_decode_from = json.JSONDecoder(strict=False).raw_decode


def json_objects(text: str) -> Iterator[bytes]:
    """Yield each outermost JSON object, as it is written in the text.

    A block in braces that is not JSON is skipped as a whole: a part of it could be mistaken for an answer. An
    object that the end of the text cuts off is skipped too.
    """
    start = text.find("{")
    for _ in range(_MAX_OBJECTS):
        if start < 0:
            return
        try:
            _, end = _decode_from(text, start)
        except (ValueError, RecursionError):
            end = _end_of_braces(text, start)
            if end < 0:
                return
        else:
            yield text[start:end].encode("utf-8", "replace")
        start = text.find("{", end)


def unfenced(text: str) -> str:
    """Return the content of the only code fence in a text; without exactly one, the text."""
    blocks = _FENCED_BLOCK.findall(text)
    return blocks[0].strip() if len(blocks) == 1 else text.strip()


def _end_of_braces(text: str, start: int) -> int:
    """Return the index after the closing brace that matches the one at ``start``, -1 if there is none."""
    depth = 0
    for found in _STRING_OR_BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return -1
