"""Reads the body of a request into memory, up to a limit."""

from headrace.testing.server.asgi import Receive
from headrace.testing.server.response_plan import RejectedRequest

BODY_LIMIT = 32 * 1024 * 1024
"""The longest accepted request body, in bytes; a longer one gets a 413. Uploads have their own."""


async def read_body(receive: Receive) -> bytes | None:
    """The request's body, or None if the client has disconnected.

    Raises:
        RejectedRequest: The body is longer than `BODY_LIMIT`.
    """
    chunks: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        length += len(chunk)
        if length <= BODY_LIMIT:
            chunks.append(chunk)
        if not message.get("more_body", False):
            break
    if length > BODY_LIMIT:
        # The body was read to its end: a client that still writes would see a broken pipe and not the 413.
        raise RejectedRequest(413, f"The body is {length} bytes long; the limit is {BODY_LIMIT}.")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
