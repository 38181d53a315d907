"""Items as they are sent to the worker processes of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from headrace.bulk.executor import WorkItem
from headrace.bulk.item_result import ItemResult, item_result
from headrace.bulk.worker_protocol import WorkerItem
from headrace.calls import Outcome
from headrace.errors import HeadraceError
from headrace.wire.request_bodies import encode_body

_FRAME_SIZE = 1 << 20
"""Bytes of requests after which a frame is sent, so that images of many items are not encoded at once."""


def encode_frames(
    items: Sequence[WorkItem], fail: Callable[[WorkItem, HeadraceError], None]
) -> Iterator[list[WorkerItem]]:
    """The items in frames of about `_FRAME_SIZE` at most.

    Args:
        items: The items.
        fail: Called for an item that cannot be sent, with its error.
    """
    frame, size = list[WorkerItem](), 0
    for item in items:
        try:
            encoded = encode_item(item)
        except HeadraceError as error:
            fail(item, error)
            continue
        frame.append(encoded)
        size += len(encoded.body or b"")
        if size >= _FRAME_SIZE:
            yield frame
            frame, size = [], 0
    if frame:
        yield frame


def encode_item(item: WorkItem) -> WorkerItem:
    """An item with its encoded request; raises the error of one that has no request."""
    request = item.request
    content = None if request.body is None else encode_body(request.body)
    return WorkerItem(
        *(item.index, item.id, request.path, request.method, content, request.fresh),
        *(dict(request.tags), request.priority, item.digest, item.step),
    )


def failed_result(item: WorkItem, error: HeadraceError) -> ItemResult:
    """The result of an item that has no request, or one that cannot be sent to a worker."""
    result = item_result(item.index, item.id, Outcome(item.index, None, None, error), (), digest=item.digest)
    result.number, result.step = item.number, item.step
    return result
