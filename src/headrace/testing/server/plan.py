"""The plan for one request, as data: the application executes it."""

from collections.abc import Iterable, Mapping

import attrs
import msgspec

from headrace.testing.server.behaviour import FaultKind
from headrace.testing.server.quirks import DONE, Draft, Quirk, offered_tools


@attrs.frozen(kw_only=True)
class Plan:
    """What to send, when, and with which fault.

    Args:
        delay: seconds to wait before the headers.
        status: HTTP status.
        headers: names in lower case; without content-length.
        content: the body of a reply that is not streamed.
        events: the server-sent events of one that is; empty otherwise.
        gap: seconds before each event but the first.
        fault: the fault drawn for this attempt, if any. The statuses among them need nothing done; for
            `reset` and `stall` the body ends half way.
        silence: seconds a stall keeps the connection open before it is cut.
    """

    delay: float = 0.0
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    content: bytes = b""
    events: tuple[bytes, ...] = ()
    gap: float = 0.0
    fault: FaultKind | None = None
    silence: float = 0.0


def with_quirks(quirks: Iterable[Quirk], plan: Plan, asked: bytes) -> Plan:
    """The plan of an answer to a chat with these quirks; ``asked`` is the request's body."""
    draft = Draft(dict(plan.headers), tools=offered_tools(asked))
    if plan.events:
        draft.chunks = [
            msgspec.json.decode(event.removeprefix(b"data: ")) for event in plan.events if event != DONE
        ]
    else:
        draft.body = msgspec.json.decode(plan.content)
    for quirk in quirks:
        quirk(draft)
    events = tuple(draft.events()) if draft.streamed else ()
    return attrs.evolve(
        plan,
        status=draft.status,
        headers=draft.headers,
        events=events,
        content=b"" if events else draft.content(),
    )


class Refusal(Exception):
    """A request that gets an error in OpenAI's form in place of an answer.

    Args:
        status: HTTP status.
        message: for a person; it never contains a secret.
        param: the field of the body that is wrong, if one is.
        code: OpenAI's short name for the error, if it has one.
        type: OpenAI's class of the error.
        headers: added to the usual ones.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        type: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: Mapping[str, str] = headers or {}
        self.error: dict[str, str | None] = {"message": message, "type": type, "param": param, "code": code}

    def plan(self, headers: Mapping[str, str], *, delay: float = 0.0, fault: FaultKind | None = None) -> Plan:
        """The plan that sends this error with these headers and its own."""
        return Plan(
            delay=delay,
            status=self.status,
            headers={"content-type": "application/json", **headers, **self.headers},
            content=msgspec.json.encode({"error": self.error}),
            fault=fault,
        )
