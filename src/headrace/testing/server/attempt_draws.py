"""The delay and the fault of each attempt, from the seed, the request and its earlier attempts."""

from collections import OrderedDict

import attrs

from headrace.testing.server.behaviour import Behaviour, FaultKind
from headrace.testing.server.response_plan import RejectedRequest
from headrace.testing.server.seeded_random import fingerprint, fraction

_MOST_REMEMBERED = 100_000

STATUS_FAULTS = {
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
"""The responses of the faults that are a status."""


@attrs.frozen
class AttemptDraw:
    """The random values for one attempt.

    Args:
        request_id: The value of ``x-request-id``.
        delay: Seconds until the response.
        fault: The fault, or None.
        silence: Seconds for which a stall keeps the connection open.
    """

    request_id: str
    delay: float
    fault: FaultKind | None
    silence: float


class AttemptDraws:
    """Draws for attempts; it counts the earlier attempts with the same digest.

    Args:
        behaviour: Latency, jitter and faults.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def next(self, digest: bytes) -> AttemptDraw:
        """The draw for the next attempt of the request with this digest."""
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
        return AttemptDraw(
            request_id="req_" + random_bytes[24:].hex(),
            delay=max(0.0, behaviour.latency + swing),
            fault=fault,
            silence=behaviour.stall if fault == "stall" else 0.0,
        )
