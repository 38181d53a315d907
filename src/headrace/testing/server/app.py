"""The embedded endpoint as an ASGI 3 application. It executes the plans of the simulated model."""

import anyio
import attrs
import msgspec

from headrace.testing.server.asgi import Receive, Scope, Send, headers_of
from headrace.testing.server.batches import BatchApi, BatchCounts, is_batch_path
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.plan_sending import send_plan
from headrace.testing.server.request_body import read_body
from headrace.testing.server.response_plan import RejectedRequest, ResponsePlan
from headrace.testing.server.simulated_model import SimulatedModel


@attrs.define
class EndpointCounts:
    """Counts of an endpoint since its start. Requests for these counts are not included.

    Requests for files and batches are counted in ``batches`` only.

    Attributes:
        requests: Number of requests.
        by_status: Number of answers for each status, including those that were then cut or stalled.
        faults: Number of attempts for each fault.
        in_flight: Number of requests that are being answered now.
        peak_in_flight: The highest value of ``in_flight`` so far.
        batches: What happened with files and batches.
    """

    requests: int = 0
    by_status: dict[int, int] = attrs.field(factory=dict)
    faults: dict[str, int] = attrs.field(factory=dict)
    in_flight: int = 0
    peak_in_flight: int = 0
    batches: BatchCounts = attrs.field(factory=BatchCounts)


class EndpointApp:
    """An ASGI application that simulates an OpenAI-compatible endpoint.

    In addition to the API it serves its `counts` as JSON at `GET /headrace/counts`, and what it did with each
    request of a batch at `GET /headrace/batch-requests`, without a key.

    Args:
        behaviour: Latency, limits and faults.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._simulation = SimulatedModel(behaviour)
        self._batches = BatchApi(behaviour, self._simulation.authorise)
        self.counts: EndpointCounts = EndpointCounts(batches=self._batches.counts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] != "http":
            raise ValueError(f"the endpoint speaks HTTP, not {scope['type']}")
        elif scope["path"] == "/headrace/counts" and scope["method"] == "GET":
            await self._batches.bring_up_to_date()
            await _send_json(self.counts, receive, send)
        elif scope["path"] == "/headrace/batch-requests" and scope["method"] == "GET":
            await self._batches.bring_up_to_date()
            await _send_json(self._batches.requests, receive, send)
        elif is_batch_path(scope["path"]):
            await self._batches.serve(scope, receive, send)
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
            content = await read_body(receive)
        except RejectedRequest as refusal:
            plan = refusal.plan({"x-request-id": "req_too_long"})
        else:
            if content is None:
                return
            plan = self._simulation.answer(
                scope["method"], scope["path"], headers_of(scope), content, anyio.current_time()
            )
        self._count(plan)
        await send_plan(plan, receive, send)

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


async def _send_json(value: object, receive: Receive, send: Send) -> None:
    content = msgspec.json.encode(value)
    await send_plan(
        ResponsePlan(headers={"content-type": "application/json"}, content=content), receive, send
    )


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
