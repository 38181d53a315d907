"""Pages of lists, as the API cuts them."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from headrace.testing.server.response_plan import RejectedRequest


class Listed(Protocol):
    """An object in a list."""

    @property
    def id(self) -> str: ...

    def body(self) -> dict[str, Any]: ...


def list_page(oldest_first: Iterable[Listed], query: Mapping[str, str], *, limit: int, most: int) -> bytes:
    """The body of a page: the newest objects first, unless ``order`` is ``asc``.

    Args:
        oldest_first: The objects in the order of their creation.
        query: The parameters ``limit``, ``after`` and ``order`` of the request.
        limit: The default length of a page.
        most: The largest length of a page.

    Raises:
        RejectedRequest: A parameter is invalid. Status 400.
    """
    objects = list(oldest_first)
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise RejectedRequest(400, f"Invalid value: '{order}'. Must be 'asc' or 'desc'.", param="order")
    if order == "desc":
        objects.reverse()
    text = query.get("limit", str(limit))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise RejectedRequest(400, f"Invalid 'limit': must be from 1 to {most}.", param="limit")
    if "after" in query:
        ids = [each.id for each in objects]
        if query["after"] not in ids:
            raise RejectedRequest(400, f"Invalid 'after': no object {query['after']}.", param="after")
        objects = objects[ids.index(query["after"]) + 1 :]
    page = objects[: int(text)]
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [each.body() for each in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": len(page) < len(objects),
        }
    )
