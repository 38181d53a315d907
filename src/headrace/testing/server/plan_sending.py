"""Executes the plan for a response: its delays, its body and its fault."""

import anyio

from headrace.testing.server.asgi import Receive, Send
from headrace.testing.server.response_plan import ResponsePlan


class ConnectionCut(Exception):
    """Raised in the middle of a body, on purpose, to make the server close the connection."""


async def send_plan(plan: ResponsePlan, receive: Receive, send: Send) -> None:
    """Send the response, after the delay of the plan.

    Raises:
        ConnectionCut: The fault of the plan is a cut connection.
    """
    if plan.delay:
        await anyio.sleep(plan.delay)
    if plan.fault in ("reset", "stall"):
        await _send_part_and_cut(plan, receive, send)
    elif plan.fault == "truncate":
        await _send_whole(plan.first_half(), send)
    else:
        await _send_whole(plan, send)


async def _send_whole(plan: ResponsePlan, send: Send) -> None:
    await _start(plan, send)
    if plan.events or plan.stored:
        await _send_chunks(plan, send)
        await send({"type": "http.response.body"})
    else:
        await send({"type": "http.response.body", "body": plan.content})


async def _send_part_and_cut(plan: ResponsePlan, receive: Receive, send: Send) -> None:
    await _start(plan, send)
    await _send_chunks(plan.first_half(), send)
    with anyio.move_on_after(plan.silence):
        # Not a plain sleep: the task should end when the client disconnects.
        while plan.silence and (await receive())["type"] != "http.disconnect":
            pass
    raise ConnectionCut


async def _start(plan: ResponsePlan, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in plan.headers.items()]
    if not plan.events:
        headers.append((b"content-length", str(plan.length).encode()))
    await send({"type": "http.response.start", "status": plan.status, "headers": headers})


async def _send_chunks(plan: ResponsePlan, send: Send) -> None:
    for number, chunk in enumerate(plan.chunks()):
        if number and plan.gap:
            await anyio.sleep(plan.gap)
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
