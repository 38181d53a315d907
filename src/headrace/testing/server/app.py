"""The embedded endpoint as an ASGI 3 application. It executes the plans of the simulated model."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
import attrs
import msgspec

from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.response_plan import RejectedRequest, ResponsePlan
from headrace.testing.server.simulated_model import SimulatedModel

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_LIMIT = 32 * 1024 * 1024
"""The longest accepted request body, in bytes; a longer one gets a 413."""


class ConnectionCut(Exception):
    """Raised in the middle of a body, on purpose, to make the server close the connection."""


@attrs.define
class EndpointCounts:
    """Counts of an endpoint since its start. Requests for these counts are not included.

    Attributes:
        requests: Number of requests.
        by_status: Number of answers for each status, including those that were then cut or stalled.
        faults: Number of attempts for each fault.
        in_flight: Number of requests that are being answered now.
        peak_in_flight: The highest value of ``in_flight`` so far.
    """

    requests: int = 0
    by_status: dict[int, int] = attrs.field(factory=dict)
    faults: dict[str, int] = attrs.field(factory=dict)
    in_flight: int = 0
    peak_in_flight: int = 0


class EndpointApp:
    """An ASGI application that simulates an OpenAI-compatible endpoint.

    In addition to the API it serves its `counts` as JSON at `GET /headrace/counts`, without a key.

    Args:
        behaviour: Latency, limits and faults.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.counts: EndpointCounts = EndpointCounts()
        self._simulation = SimulatedModel(behaviour)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] != "http":
            raise ValueError(f"the endpoint speaks HTTP, not {scope['type']}")
        elif scope["path"] == "/headrace/counts" and scope["method"] == "GET":
            counts = msgspec.json.encode(self.counts)
            await _send_whole(
                ResponsePlan(headers={"content-type": "application/json"}, content=counts), send
            )
        else:
            self.counts.requests += 1
            self.counts.in_flight += 1
            self.counts.peak_in_flight = max(self.counts.peak_in_flight, self.counts.in_flight)
            try:
                await self._serve(scope, receive, send)
            finally:
                self.counts.in_flight -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            content = await _read_body(receive)
        except RejectedRequest as refusal:
            plan = refusal.plan({"x-request-id": "req_too_long"})
        else:
            if content is None:
                return
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            plan = self._simulation.answer(
                scope["method"], scope["path"], headers, content, anyio.current_time()
            )
        self._count(plan)
        if plan.delay:
            await anyio.sleep(plan.delay)
        if plan.fault in ("reset", "stall"):
            await _send_part_and_cut(plan, receive, send)
        elif plan.events:
            await _send_events(plan, send)
        else:
            await _send_whole(plan, send)

    def _count(self, plan: ResponsePlan) -> None:
        counts = self.counts
        counts.by_status[plan.status] = counts.by_status.get(plan.status, 0) + 1
        if plan.fault:
            counts.faults[plan.fault] = counts.faults.get(plan.fault, 0) + 1


def create_app(behaviour: Behaviour | None = None) -> EndpointApp:
    """Create the embedded endpoint as an ASGI application, for any ASGI server or an in-memory transport.

    Args:
        behaviour: Latency, limits and faults. Default: answers at once, without limits or faults.
    """
    return EndpointApp(behaviour or Behaviour())


async def _read_body(receive: Receive) -> bytes | None:
    """The request's body, or None if the client has disconnected."""
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


async def _start(plan: ResponsePlan, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in plan.headers.items()]
    if not plan.events:
        headers.append((b"content-length", str(len(plan.content)).encode()))
    await send({"type": "http.response.start", "status": plan.status, "headers": headers})


async def _send_whole(plan: ResponsePlan, send: Send) -> None:
    await _start(plan, send)
    await send({"type": "http.response.body", "body": plan.content})


async def _send_events(plan: ResponsePlan, send: Send) -> None:
    await _start(plan, send)
    for number, event in enumerate(plan.events):
        if number and plan.gap:
            await anyio.sleep(plan.gap)
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body"})


async def _send_part_and_cut(plan: ResponsePlan, receive: Receive, send: Send) -> None:
    await _start(plan, send)
    half = b"".join(plan.events[: len(plan.events) // 2]) or plan.content[: len(plan.content) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})
    with anyio.move_on_after(plan.silence):
        # Not a plain sleep: the task should end when the client disconnects.
        while plan.silence and (await receive())["type"] != "http.disconnect":
            pass
    raise ConnectionCut


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
