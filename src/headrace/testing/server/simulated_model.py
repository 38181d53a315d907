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
from collections.abc import Mapping

import msgspec

from headrace.testing.server.attempt_draws import STATUS_FAULTS, AttemptDraws
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.chat import CREATED
from headrace.testing.server.model_requests import REQUEST_TYPES, answer_request, parse_request
from headrace.testing.server.quirks import find_quirks
from headrace.testing.server.response_plan import RejectedRequest, ResponsePlan, wrong_method
from headrace.testing.server.token_bucket import TokenBucket

MODELS = ("simulated-chat", "simulated-embedding")
"""The models in `GET /models`. Requests may have any other model name, too."""

_JSON = {"content-type": "application/json"}


class SimulatedModel:
    """Answers requests like an OpenAI-compatible endpoint, without I/O.

    Args:
        behaviour: Latency, limits and faults.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._bucket = TokenBucket(behaviour.rate_limit) if behaviour.rate_limit is not None else None
        self._draws = AttemptDraws(behaviour)
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
            self.authorise(headers)
            route = path.removeprefix("/v1") if path.startswith("/v1/") else path
            if route == "/models" or route.startswith("/models/"):
                _check_method("GET", method, path)
                return ResponsePlan(headers=_JSON | {"x-request-id": "req_models"}, content=_models(route))
            if route in REQUEST_TYPES:
                _check_method("POST", method, path)
                return self._generate(route, content, now)
            raise RejectedRequest(404, f"There is no {method} {path} here.", code="unknown_url")
        except RejectedRequest as refusal:
            return refusal.plan({"x-request-id": self._refusal_id()})

    def authorise(self, headers: Mapping[str, str]) -> None:
        """Check the API key; raises `RejectedRequest` if it is missing or wrong.

        Args:
            headers: The headers of the request, with names in lower case.
        """
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
        headers = self._pass_rate_limit(now)
        seed = self._behaviour.seed
        try:
            request = parse_request(route, content, seed=seed)
        except RejectedRequest as refusal:
            return refusal.plan(headers | {"x-request-id": self._refusal_id()})
        draw = self._draws.next(request.digest)
        headers["x-request-id"] = draw.request_id
        if draw.fault in STATUS_FAULTS:
            return STATUS_FAULTS[draw.fault].plan(headers, delay=draw.delay, fault=draw.fault)
        plan = ResponsePlan(delay=draw.delay, headers=headers, fault=draw.fault, silence=draw.silence)
        return answer_request(request, plan, seed=seed, quirks=self._quirks)

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

    def _refusal_id(self) -> str:
        self._refused += 1
        return f"req_refused_{self._refused}"


def _check_method(expected: str, method: str, path: str) -> None:
    if method != expected:
        raise wrong_method(method, path, expected)


def _models(route: str) -> bytes:
    def model(name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "headrace"}

    name = route.removeprefix("/models").removeprefix("/")
    if name:
        return msgspec.json.encode(model(name))
    return msgspec.json.encode({"object": "list", "data": [model(known) for known in MODELS]})
