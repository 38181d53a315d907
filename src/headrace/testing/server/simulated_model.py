"""The simulated model behind the endpoint, without I/O: a request and the time in, a plan out.

This simulates a model and understands nothing; `speech` says how its words come about.

Theory of operation. What is said is a pure function of the seed and the request's body. What goes wrong is a
pure function of the seed, the body, and how often this body was seen: the second attempt at a request fares
the same in every run, with any other requests in flight. Only the rate limit depends on the time, so
attempts it refuses are not counted as seen. A request that is wrong in itself is refused at once and never
draws a fault.
"""

import hmac
import math
from collections import OrderedDict
from collections.abc import Mapping

import attrs
import msgspec

from headrace.testing.server.behaviour import Behaviour, FaultKind
from headrace.testing.server.chat import CREATED, ChatRequest, complete
from headrace.testing.server.embeddings import EmbeddingsRequest, embed
from headrace.testing.server.plan import Plan, Refusal, with_quirks
from headrace.testing.server.quirks import quirks_of
from headrace.testing.server.request_reading import read
from headrace.testing.server.responses import ResponsesRequest, respond
from headrace.testing.server.seeded_random import fingerprint, fraction
from headrace.testing.server.token_bucket import TokenBucket

MODELS = ("simulated-chat", "simulated-embedding")
"""What `GET /models` lists. Every other model name is answered just as well."""

_REMEMBERED = 100_000
_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}

_KINDS: dict[str, type[ChatRequest | EmbeddingsRequest | ResponsesRequest]] = {
    "/chat/completions": ChatRequest,
    "/embeddings": EmbeddingsRequest,
    "/responses": ResponsesRequest,
}

_STATUS_FAULTS = {
    "500": Refusal(500, "The server had an error while processing your request.", type="server_error"),
    "503": Refusal(503, "The engine is currently overloaded, please try again later.", type="server_error"),
    "429": Refusal(
        429,
        "Too many requests; please try again in 100ms.",
        type="requests",
        code="rate_limit_exceeded",
        headers={"retry-after": "1", "retry-after-ms": "100"},
    ),
}


@attrs.frozen
class _Draw:
    """What chance has in store for one attempt."""

    request_id: str
    delay: float
    fault: FaultKind | None


class Simulation:
    """Answers requests as an OpenAI-compatible endpoint would.

    Args:
        behaviour: how quick, how limited, how faulty.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._bucket = TokenBucket(behaviour.rate_limit) if behaviour.rate_limit is not None else None
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._quirks = quirks_of(behaviour.quirks)
        self._refused = 0

    def answer(self, method: str, path: str, headers: Mapping[str, str], content: bytes, now: float) -> Plan:
        """What to do about a request; a wrong one is answered with an error, never raised.

        Args:
            method: in upper case.
            path: with or without `/v1` in front, percent-decoded, without query.
            headers: names in lower case.
            content: the body.
            now: seconds on a clock that never goes back.
        """
        try:
            self._authorise(headers)
            route = path.removeprefix("/v1") if path.startswith("/v1/") else path
            if route == "/models" or route.startswith("/models/"):
                _expect("GET", method, path)
                return Plan(headers=_JSON | {"x-request-id": "req_models"}, content=_models(route))
            if route in _KINDS:
                _expect("POST", method, path)
                return self._generate(route, content, now)
            raise Refusal(404, f"There is no {method} {path} here.", code="unknown_url")
        except Refusal as refusal:
            return refusal.plan({"x-request-id": self._refusal_id()})

    def _authorise(self, headers: Mapping[str, str]) -> None:
        key = self._behaviour.api_key
        if key is None:
            return
        given = headers.get("authorization", "")
        if not given:
            message = "You didn't provide an API key. Send it as a bearer token in the Authorization header."
            raise Refusal(401, message, code="invalid_api_key")
        if not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
            raise Refusal(401, "Incorrect API key provided.", code="invalid_api_key")

    def _generate(self, route: str, content: bytes, now: float) -> Plan:
        limits = self._pass_rate_limit(now)
        request: ChatRequest | EmbeddingsRequest | ResponsesRequest
        try:
            request = read(content, _KINDS[route])
            if isinstance(request, ResponsesRequest) and request.stream:
                raise Refusal(400, "Responses are not streamed here; leave out 'stream'.", param="stream")
        except Refusal as refusal:
            return refusal.plan(limits | {"x-request-id": self._refusal_id()})
        digest = fingerprint(self._behaviour.seed, route.encode(), content)
        draw = self._draw(digest)
        limits["x-request-id"] = draw.request_id
        if draw.fault in _STATUS_FAULTS:
            return _STATUS_FAULTS[draw.fault].plan(limits, delay=draw.delay, fault=draw.fault)
        plan = Plan(
            delay=draw.delay,
            headers=_JSON | limits,
            fault=draw.fault,
            silence=self._behaviour.stall if draw.fault == "stall" else 0.0,
        )
        if isinstance(request, EmbeddingsRequest):
            return attrs.evolve(plan, content=embed(request, seed=self._behaviour.seed))
        if isinstance(request, ResponsesRequest):
            answer = respond(request, id=f"resp_{digest.hex()[:24]}", seed=self._behaviour.seed)
            return attrs.evolve(plan, content=answer)
        completion = complete(request, id=f"chatcmpl-{digest.hex()[:24]}", seed=self._behaviour.seed)
        if not request.stream:
            return self._with_quirks(attrs.evolve(plan, content=completion.body()), content)
        wants_usage = request.stream_options is not None and bool(request.stream_options.include_usage)
        events = completion.events(include_usage=wants_usage)
        # Half of the time passes before the first event and half among the others, so that a streamed reply
        # is over when one that is not streamed would be.
        half = draw.delay / 2
        streamed = attrs.evolve(
            plan, delay=half, headers=_EVENTS | limits, events=events, gap=half / (len(events) - 1)
        )
        return self._with_quirks(streamed, content)

    def _with_quirks(self, plan: Plan, content: bytes) -> Plan:
        return with_quirks(self._quirks, plan, content) if self._quirks else plan

    def _pass_rate_limit(self, now: float) -> dict[str, str]:
        if self._bucket is None:
            return {}
        wait = self._bucket.take(now)
        headers = self._bucket.headers()
        if wait == 0:
            return headers
        milliseconds = math.ceil(wait * 1000)
        raise Refusal(
            429,
            f"Rate limit reached for requests: limit {self._behaviour.rate_limit:g} per second. "
            f"Please try again in {milliseconds}ms.",
            type="requests",
            code="rate_limit_exceeded",
            headers=headers | {"retry-after": str(math.ceil(wait)), "retry-after-ms": str(milliseconds)},
        )

    def _draw(self, digest: bytes) -> _Draw:
        behaviour = self._behaviour
        attempt = self._seen.pop(digest, 0) + 1
        self._seen[digest] = attempt
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        chance = fingerprint(behaviour.seed, digest, attempt.to_bytes(8, "big"))
        fault = None
        if fraction(chance) < behaviour.errors:
            fault = behaviour.faults[int(fraction(chance[8:]) * len(behaviour.faults))]
        swing = behaviour.jitter * (2 * fraction(chance[16:]) - 1)
        return _Draw("req_" + chance[24:].hex(), max(0.0, behaviour.latency + swing), fault)

    def _refusal_id(self) -> str:
        self._refused += 1
        return f"req_refused_{self._refused}"


def _expect(expected: str, method: str, path: str) -> None:
    if method != expected:
        message = f"Not allowed to {method} on {path}: use {expected}."
        raise Refusal(405, message, code="method_not_supported", headers={"allow": expected})


def _models(route: str) -> bytes:
    def model(name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "headrace"}

    name = route.removeprefix("/models").removeprefix("/")
    if name:
        return msgspec.json.encode(model(name))
    return msgspec.json.encode({"object": "list", "data": [model(known) for known in MODELS]})
