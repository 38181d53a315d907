"""The simulated model behind the endpoint, without I/O: from a request and the time to a response plan.

The simulated model understands nothing; see `answer_text` for its words.

Theory of operation. The text is a pure function of the seed and the request's body. The fault is a pure
function of the seed, the body and the number of earlier attempts with this body. So the second attempt of a
request has the same result in each run, also if other requests are in flight. Only the rate limit depends on
the time, so attempts over the limit are not counted. An invalid request is rejected at once and never gets a
fault.
"""

import hmac
import math
from collections import OrderedDict
from collections.abc import Mapping

import attrs
import msgspec

from headrace.testing.server.behaviour import Behaviour, FaultKind
from headrace.testing.server.chat import CREATED, ChatRequest, create_completion
from headrace.testing.server.embeddings import EmbeddingsRequest, check_texts, create_embeddings
from headrace.testing.server.media_tokens import MediaTokens, count_media_tokens
from headrace.testing.server.quirks import find_quirks
from headrace.testing.server.request_parsing import parse_body
from headrace.testing.server.response_plan import RejectedRequest, ResponsePlan, apply_quirks
from headrace.testing.server.responses import ResponsesRequest, create_response
from headrace.testing.server.seeded_random import fingerprint, fraction
from headrace.testing.server.token_bucket import TokenBucket

MODELS = ("simulated-chat", "simulated-embedding")
"""The models in `GET /models`. Requests may have any other model name, too."""

_MOST_REMEMBERED = 100_000
_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}

_REQUEST_TYPES: dict[str, type[ChatRequest | EmbeddingsRequest | ResponsesRequest]] = {
    "/chat/completions": ChatRequest,
    "/embeddings": EmbeddingsRequest,
    "/responses": ResponsesRequest,
}

_STATUS_FAULTS = {
    "500": RejectedRequest(
        500, "The server had an error while processing your request.", type="server_error"
    ),
    "503": RejectedRequest(
        503, "The engine is currently overloaded, please try again later.", type="server_error"
    ),
    "429": RejectedRequest(
        429,
        "Too many requests; please try again in 100ms.",
        type="requests",
        code="rate_limit_exceeded",
        headers={"retry-after": "1", "retry-after-ms": "100"},
    ),
}


@attrs.frozen
class _AttemptDraw:
    """The random values for one attempt."""

    request_id: str
    delay: float
    fault: FaultKind | None


class SimulatedModel:
    """Answers requests like an OpenAI-compatible endpoint, without I/O.

    Args:
        behaviour: Latency, limits and faults.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._bucket = TokenBucket(behaviour.rate_limit) if behaviour.rate_limit is not None else None
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._quirks = find_quirks(behaviour.quirks)
        self._refused = 0

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes, now: float
    ) -> ResponsePlan:
        """The plan for the response to a request. Invalid requests get an error response; nothing is raised.

        Args:
            method: The HTTP method, in upper case.
            path: The percent-decoded path without query, with or without `/v1` in front.
            headers: The headers, with names in lower case.
            content: The body.
            now: Seconds on a monotonic clock.
        """
        try:
            self._authorise(headers)
            route = path.removeprefix("/v1") if path.startswith("/v1/") else path
            if route == "/models" or route.startswith("/models/"):
                _check_method("GET", method, path)
                return ResponsePlan(headers=_JSON | {"x-request-id": "req_models"}, content=_models(route))
            if route in _REQUEST_TYPES:
                _check_method("POST", method, path)
                return self._generate(route, content, now)
            raise RejectedRequest(404, f"There is no {method} {path} here.", code="unknown_url")
        except RejectedRequest as refusal:
            return refusal.plan({"x-request-id": self._refusal_id()})

    def _authorise(self, headers: Mapping[str, str]) -> None:
        key = self._behaviour.api_key
        if key is None:
            return
        authorization = headers.get("authorization", "")
        if not authorization:
            message = "You didn't provide an API key. Send it as a bearer token in the Authorization header."
            raise RejectedRequest(401, message, code="invalid_api_key")
        if not hmac.compare_digest(authorization.encode(), f"Bearer {key}".encode()):
            raise RejectedRequest(401, "Incorrect API key provided.", code="invalid_api_key")

    def _generate(self, route: str, content: bytes, now: float) -> ResponsePlan:
        rate_limit_headers = self._pass_rate_limit(now)
        request: ChatRequest | EmbeddingsRequest | ResponsesRequest
        media = MediaTokens()
        try:
            request = parse_body(content, _REQUEST_TYPES[route])
            if isinstance(request, ChatRequest):
                media = count_media_tokens(request.messages)
            if isinstance(request, EmbeddingsRequest):
                check_texts(request)
            if isinstance(request, ResponsesRequest) and request.stream:
                raise RejectedRequest(
                    400, "Responses are not streamed here; leave out 'stream'.", param="stream"
                )
        except RejectedRequest as refusal:
            return refusal.plan(rate_limit_headers | {"x-request-id": self._refusal_id()})
        digest = fingerprint(self._behaviour.seed, route.encode(), content)
        draw = self._draw(digest)
        rate_limit_headers["x-request-id"] = draw.request_id
        if draw.fault in _STATUS_FAULTS:
            return _STATUS_FAULTS[draw.fault].plan(rate_limit_headers, delay=draw.delay, fault=draw.fault)
        plan = ResponsePlan(
            delay=draw.delay,
            headers=_JSON | rate_limit_headers,
            fault=draw.fault,
            silence=self._behaviour.stall if draw.fault == "stall" else 0.0,
        )
        if isinstance(request, EmbeddingsRequest):
            return attrs.evolve(plan, content=create_embeddings(request, seed=self._behaviour.seed))
        if isinstance(request, ResponsesRequest):
            answer = create_response(request, id=f"resp_{digest.hex()[:24]}", seed=self._behaviour.seed)
            return attrs.evolve(plan, content=answer)
        completion = create_completion(
            request, id=f"chatcmpl-{digest.hex()[:24]}", seed=self._behaviour.seed, media=media
        )
        if not request.stream:
            return self._with_quirks(attrs.evolve(plan, content=completion.body()), content)
        wants_usage = request.stream_options is not None and bool(request.stream_options.include_usage)
        events = completion.events(include_usage=wants_usage)
        # Half of the delay comes before the first event and the rest between the events, so a streamed reply
        # takes as long as one that is not streamed.
        half = draw.delay / 2
        streamed = attrs.evolve(
            plan,
            delay=half,
            headers=_EVENTS | rate_limit_headers,
            events=events,
            gap=half / (len(events) - 1),
        )
        return self._with_quirks(streamed, content)

    def _with_quirks(self, plan: ResponsePlan, content: bytes) -> ResponsePlan:
        return apply_quirks(self._quirks, plan, content) if self._quirks else plan

    def _pass_rate_limit(self, now: float) -> dict[str, str]:
        if self._bucket is None:
            return {}
        wait = self._bucket.take(now)
        headers = self._bucket.headers()
        if wait == 0:
            return headers
        milliseconds = math.ceil(wait * 1000)
        raise RejectedRequest(
            429,
            f"Rate limit reached for requests: limit {self._behaviour.rate_limit:g} per second. "
            f"Please try again in {milliseconds}ms.",
            type="requests",
            code="rate_limit_exceeded",
            headers=headers | {"retry-after": str(math.ceil(wait)), "retry-after-ms": str(milliseconds)},
        )

    def _draw(self, digest: bytes) -> _AttemptDraw:
        behaviour = self._behaviour
        attempt = self._seen.pop(digest, 0) + 1
        self._seen[digest] = attempt
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        random_bytes = fingerprint(behaviour.seed, digest, attempt.to_bytes(8, "big"))
        fault = None
        if fraction(random_bytes) < behaviour.errors:
            fault = behaviour.faults[int(fraction(random_bytes[8:]) * len(behaviour.faults))]
        swing = behaviour.jitter * (2 * fraction(random_bytes[16:]) - 1)
        return _AttemptDraw("req_" + random_bytes[24:].hex(), max(0.0, behaviour.latency + swing), fault)

    def _refusal_id(self) -> str:
        self._refused += 1
        return f"req_refused_{self._refused}"


def _check_method(expected: str, method: str, path: str) -> None:
    if method != expected:
        message = f"Not allowed to {method} on {path}: use {expected}."
        raise RejectedRequest(405, message, code="method_not_supported", headers={"allow": expected})


def _models(route: str) -> bytes:
    def model(name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "headrace"}

    name = route.removeprefix("/models").removeprefix("/")
    if name:
        return msgspec.json.encode(model(name))
    return msgspec.json.encode({"object": "list", "data": [model(known) for known in MODELS]})
