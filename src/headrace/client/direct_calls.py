"""Calls without the policies of a client: for files and jobs, which must not be sent twice by a retry."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import anyio

from headrace.calls import Call, PartedContent, Request
from headrace.client.client import Client
from headrace.endpoint import Endpoint
from headrace.pipeline.attempt import parse_reply, send_rewritten, status_error, with_raise_for_status
from headrace.replies import Headers, Reply
from headrace.wire.error_redaction import redact_error
from headrace.wire.reply_bodies import expected_body, read_reply_body
from headrace.wire.structured_output import ResponseFormat


class DirectCalls:
    """Makes calls to one endpoint over the connections of a client, but without its policies.

    Each call is one attempt, and takes no token of the limiter. The client's model is not added.

    Args:
        client: An open client.
        endpoint: Where the calls go: one of the client's endpoints.
    """

    def __init__(self, client: Client, endpoint: Endpoint) -> None:
        self._client = client
        self.endpoint: Endpoint = endpoint
        self._send = client._transport.send
        self._attempt = with_raise_for_status(self._send)

    async def send(self, request: Request, content: PartedContent | None = None) -> Reply:
        """Make a call.

        Args:
            request: The request.
            content: A body that is read in parts while it is sent; None for the JSON of the request's body.

        Raises:
            CallError: The call failed.
        """
        call = self._call(request)
        if content is not None:
            call.content = content  # type: ignore[assignment]  # transports take both
        return await self._attempt(call)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[Headers, AsyncIterator[bytes]]]:
        """Make a call whose answer may have any size, like a file; yields its headers and its parts.

        Raises:
            CallError: The call failed; while the parts are read, the connection was lost.
        """
        call = self._call(request)
        call.streamed = call.unbounded = True
        reply = await send_rewritten(self._send, call)
        if not 200 <= reply.status < 300:
            error = status_error(call, reply)
            redact_error(error, self.endpoint)
            raise error
        try:
            async with aclosing(_parts(reply, call.timeout.stall)) as parts:
                yield reply.headers, parts
        finally:
            if reply.stream is not None:
                with anyio.CancelScope(shield=True):
                    await reply.stream.aclose()

    def read_answer(self, request: Request, reply: Reply, answer: ResponseFormat | None = None) -> Reply:
        """An answer that arrived in another way, checked and completed as if ``request`` had got it.

        Args:
            request: The request.
            reply: Its status, its headers and its content.
            answer: The format of the answer.

        Raises:
            CallError: What a call with this answer raises.
        """
        reply._endpoint = self.endpoint
        if not 200 <= reply.status < 300:
            error = status_error(self._call(request), reply)
            error.request = request
            redact_error(error, self.endpoint)
            raise error
        read_reply_body(reply, expected_body(request.path))
        if answer is None:
            return reply
        parsed = parse_reply(reply, answer)
        parsed._endpoint = self.endpoint
        return parsed

    def _call(self, request: Request) -> Call:
        call = self._client._call(request)
        call.endpoint = self.endpoint
        return call


async def _parts(reply: Reply, stall: float | None) -> AsyncGenerator[bytes, None]:
    if reply.stream is None:  # the transport has read the whole body
        if reply.content:
            yield reply.content
        return
    while True:
        until = math.inf if stall is None else anyio.current_time() + stall
        part = await reply.stream.receive(until)
        if not part:
            return
        yield part
