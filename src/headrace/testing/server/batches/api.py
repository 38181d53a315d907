"""Serves the requests for files and batches."""

import math
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

import anyio
import anyio.lowlevel
import attrs

from headrace.testing.server.asgi import Receive, Scope, Send, headers_of
from headrace.testing.server.attempt_draws import STATUS_FAULTS, AttemptDraws
from headrace.testing.server.batches import file_routes
from headrace.testing.server.batches.batch_routes import BatchStore
from headrace.testing.server.batches.counts import BatchCounts, RequestCounts
from headrace.testing.server.batches.files import FileStore
from headrace.testing.server.batches.upload import Upload, read_upload
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.plan_sending import send_plan
from headrace.testing.server.request_body import read_body
from headrace.testing.server.response_plan import RejectedRequest, ResponsePlan, wrong_method
from headrace.testing.server.seeded_random import fingerprint

# Seconds of work before a response: a client would not wait for a batch that takes a minute of computing.
_LONGEST_WORK = 1.0


def is_batch_path(path: str) -> bool:
    """Whether requests with this path are for files or batches."""
    return path.removeprefix("/v1").split("/")[1:2] in (["files"], ["batches"])


@attrs.frozen
class _Request:
    """A request, with its body; the body of an upload is a form."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes = b""
    upload: Upload | None = None


class BatchApi:
    """The files and batches of an endpoint.

    Attributes:
        counts: What happened so far.
        requests: What happened with the requests of each ``custom_id``.

    Args:
        behaviour: Latency, faults, limits, and what happens to batches.
        authorise: Raises `RejectedRequest` if the headers have no valid API key.
    """

    def __init__(self, behaviour: Behaviour, authorise: Callable[[Mapping[str, str]], None]) -> None:
        self.counts: BatchCounts = BatchCounts()
        self.requests: dict[str, RequestCounts] = {}
        self._seed = behaviour.seed
        self._authorise = authorise
        self._draws = AttemptDraws(behaviour)
        self._files = FileStore(behaviour.batch_listing_delay)
        self._batches = BatchStore(behaviour, self._files, self.counts, self.requests)
        self._clock_offset: float | None = None

    async def bring_up_to_date(self, most_seconds: float = math.inf) -> None:
        """Do the work of batches that is due now, for at most so many seconds."""
        now = self._now()
        for batch in self._batches.unfinished():
            while self._now() <= now + most_seconds and batch.advance(now):
                await anyio.lowlevel.checkpoint()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for files or batches."""
        self.counts.requests += 1
        try:
            request = await self._read(scope, receive)
            if request is None:
                return
            await self.bring_up_to_date(_LONGEST_WORK)
            plan = self._answer(request)
        except RejectedRequest as refusal:
            plan = refusal.plan({"x-request-id": "req_refused"})
        counts = self.counts
        counts.by_status[plan.status] = counts.by_status.get(plan.status, 0) + 1
        if plan.fault:
            counts.faults[plan.fault] = counts.faults.get(plan.fault, 0) + 1
        await send_plan(plan, receive, send)

    def _now(self) -> float:
        """Unix time, by the clock of the event loop, which may be a virtual one."""
        if self._clock_offset is None:
            self._clock_offset = time.time() - anyio.current_time()
        return anyio.current_time() + self._clock_offset

    async def _read(self, scope: Scope, receive: Receive) -> _Request | None:
        headers = headers_of(scope)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        request = _Request(scope["method"], scope["path"].removeprefix("/v1"), query, headers)
        if (request.method, request.path) == ("POST", "/files"):
            upload = await read_upload(receive, headers.get("content-type", ""))
            request = attrs.evolve(request, upload=upload)
            complete = upload is not None
        else:
            content = await read_body(receive)
            request = attrs.evolve(request, content=content or b"")
            complete = content is not None
        # Only now: a client that still writes its body would not see the response.
        self._authorise(headers)
        return request if complete else None

    def _answer(self, request: _Request) -> ResponsePlan:
        """Draw the fault of this attempt, and do what the request asks for, unless the fault refuses it."""
        draw = self._draws.next(_digest(self._seed, request))
        headers = {"x-request-id": draw.request_id}
        if draw.fault in ("503", "429"):
            return STATUS_FAULTS[draw.fault].plan(headers, delay=draw.delay, fault=draw.fault)
        plan = self._perform(request)
        if draw.fault == "500":
            # The server did its work and failed only then, as real ones do: what was created is there.
            return STATUS_FAULTS["500"].plan(headers, delay=draw.delay, fault=draw.fault)
        return attrs.evolve(
            plan,
            delay=draw.delay,
            headers={**plan.headers, **headers},
            fault=draw.fault,
            silence=draw.silence,
        )

    def _perform(self, request: _Request) -> ResponsePlan:
        now, files, batches = self._now(), self._files, self._batches
        kind, *rest = request.path.strip("/").split("/")
        match (kind, request.method, rest):
            case ("files", "POST", []) if request.upload:
                return file_routes.create_file(request.upload, files, self.counts, now)
            case ("files", "GET", []):
                return file_routes.list_files(files, request.query, now)
            case ("files", "GET", [id]):
                return file_routes.show_file(files.get(id, now))
            case ("files", "DELETE", [id]):
                return file_routes.delete_file(id, files, now)
            case ("files", "GET", [id, "content"]):
                return file_routes.download_file(files.get(id, now), request.headers)
            case ("batches", "POST", []):
                return batches.create(request.content, now)
            case ("batches", "GET", []):
                return batches.page(request.query, now)
            case ("batches", "GET", [id]):
                return batches.show(id)
            case ("batches", "POST", [id, "cancel"]):
                return batches.cancel(id, now)
        allowed = _allowed_methods(kind, rest)
        if allowed and request.method not in allowed:
            raise wrong_method(request.method, f"/v1{request.path}", ", ".join(allowed))
        message = f"There is no {request.method} {request.path} here."
        raise RejectedRequest(404, message, code="unknown_url")


def _allowed_methods(kind: str, rest: list[str]) -> tuple[str, ...]:
    """The methods of a path; none if there is no such path."""
    match (kind, rest):
        case ("files" | "batches", []):
            return ("GET", "POST")
        case ("files", [_]):
            return ("GET", "DELETE")
        case ("files", [_, "content"]) | ("batches", [_]):
            return ("GET",)
        case ("batches", [_, "cancel"]):
            return ("POST",)
    return ()


def _digest(seed: int, request: _Request) -> bytes:
    body = request.content if request.upload is None else request.upload.digest
    query = "&".join(f"{name}={value}" for name, value in sorted(request.query.items()))
    return fingerprint(seed, request.method.encode(), request.path.encode(), query.encode(), body)
