"""Makes the request of a row again from its body, which is kept on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace import Request
from headrace.plugins import EncodedBody


def stored_request(
    id: str, path: str, model: str | None, content: bytes, answer: Any, tags: Mapping[str, str]
) -> Request:
    """The request of a row.

    Args:
        id: The id of the row.
        path: The path of the API.
        model: The model as the run names it; None if the request names none. The endpoint may have another
            name for it, which is in the body.
        content: The body as JSON.
        answer: The format of the answer.
        tags: The tags of the request.
    """
    body: Any = EncodedBody(content)
    if model is not None and body.get("model") != model:
        body = {**body, "model": model}
    return Request(body, path, id=id, answer=answer, tags=tags)
