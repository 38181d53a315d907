"""The embedded endpoint as an ASGI 3 application: it executes the plans of the simulated model."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
import attrs
import msgspec

from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.plan import Plan, Refusal
from headrace.testing.server.simulated_model import Simulation

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_LIMIT = 32 * 1024 * 1024
"""The longest request body taken, in bytes; a longer one gets a 413."""


class ConnectionCut(Exception):
    """Makes the server drop the connection: raised in the middle of a body, on purpose."""


@attrs.define
class Counts:
    """Counts of an endpoint since its start, without requests for these counts.

    Attributes:
        requests: Number of requests.
        by_status: Answers by status, with those that were then cut or stalled.
        faults: Attempts by the fault that they got.
        in_flight: Requests that are being answered now.
        peak_in_flight: The highest number of these so far.
    """

    requests: int = 0
    by_status: dict[int, int] = attrs.field(factory=dict)
    faults: dict[str, int] = attrs.field(factory=dict)
    in_flight: int = 0
    peak_in_flight: int = 0


class Endpoint:
    """An ASGI application that simulates an OpenAI-compatible endpoint.

    In addition to the API it serves its `counts` as JSON at `GET /headrace/counts`, without a key.

    Args:
        behaviour: Latency, limits and faults.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.counts: Counts = Counts()
        self._simulation = Simulation(behaviour)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] != "http":
            raise ValueError(f"the endpoint speaks HTTP, not {scope['type']}")
        elif scope["path"] == "/headrace/counts" and scope["method"] == "GET":
            counts = msgspec.json.encode(self.counts)
            await _send_whole(Plan(headers={"content-type": "application/json"}, content=counts), send)
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
        except Refusal as refusal:
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
            await _send_half(plan, receive, send)
        elif plan.events:
            await _send_events(plan, send)
        else:
            await _send_whole(plan, send)

    def _count(self, plan: Plan) -> None:
        counts = self.counts
        counts.by_status[plan.status] = counts.by_status.get(plan.status, 0) + 1
        if plan.fault:
            counts.faults[plan.fault] = counts.faults.get(plan.fault, 0) + 1


def create_app(behaviour: Behaviour | None = None) -> Endpoint:
    """An endpoint as an ASGI application, for any ASGI server or for an in-memory transport.

    Args:
        behaviour: Latency, limits and faults. Default: at once, without limit or fault.
    """
    return Endpoint(behaviour or Behaviour())


async def _read_body(receive: Receive) -> bytes | None:
    """The request's body; None if the client went away."""
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
        # Read to its end, though not kept: a client that is still writing would see a broken pipe and no 413.
        raise Refusal(413, f"The body is {length} bytes long; the limit is {BODY_LIMIT}.")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _start(plan: Plan, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in plan.headers.items()]
    if not plan.events:
        headers.append((b"content-length", str(len(plan.content)).encode()))
    await send({"type": "http.response.start", "status": plan.status, "headers": headers})


async def _send_whole(plan: Plan, send: Send) -> None:
    await _start(plan, send)
    await send({"type": "http.response.body", "body": plan.content})


async def _send_events(plan: Plan, send: Send) -> None:
    await _start(plan, send)
    for number, event in enumerate(plan.events):
        if number and plan.gap:
            await anyio.sleep(plan.gap)
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body"})


async def _send_half(plan: Plan, receive: Receive, send: Send) -> None:
    await _start(plan, send)
    half = b"".join(plan.events[: len(plan.events) // 2]) or plan.content[: len(plan.content) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})
    with anyio.move_on_after(plan.silence):
        # Not a plain sleep: a client that gave up should not hold a task here for the rest of the silence.
        while plan.silence and (await receive())["type"] != "http.disconnect":
            pass
    raise ConnectionCut


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
