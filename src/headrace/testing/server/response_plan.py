"""The plan for the response to one request, as data. The application executes it."""

from collections.abc import Iterable, Mapping

import attrs
import msgspec

from headrace.testing.server.behaviour import FaultKind
from headrace.testing.server.quirks import DONE, Quirk, ResponseDraft, offered_tools
from headrace.testing.server.stored_content import ContentRange


@attrs.frozen(kw_only=True)
class ResponsePlan:
    """The response to send, with its delays and fault.

    Args:
        delay: Seconds to wait before the headers.
        status: HTTP status.
        headers: Names in lower case; without content-length.
        content: The body of a reply that is not streamed.
        stored: A part of a stored file, as the body in place of ``content``.
        events: The server-sent events of a streamed reply; empty otherwise.
        gap: Seconds before each event except the first.
        fault: The fault of this attempt, or None. For `reset`, `stall` and `truncate`, only half of the body
            is sent; the other faults are already in the plan, as its status.
        silence: Seconds for which a stall keeps the connection open before it is cut.
    """

    delay: float = 0.0
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    content: bytes = b""
    stored: ContentRange | None = None
    events: tuple[bytes, ...] = ()
    gap: float = 0.0
    fault: FaultKind | None = None
    silence: float = 0.0

    @property
    def length(self) -> int:
        """The length of a body that is not streamed, in bytes."""
        return len(self.content if self.stored is None else self.stored)

    def chunks(self) -> Iterable[bytes]:
        """The body in the chunks in which it is sent."""
        return self.events or ([self.content] if self.stored is None else self.stored.chunks())

    def first_half(self) -> "ResponsePlan":
        """The plan with the first half of the body."""
        return attrs.evolve(
            self,
            content=self.content[: len(self.content) // 2],
            stored=self.stored and self.stored.first_half(),
            events=self.events and (b"".join(self.events[: len(self.events) // 2]),),
        )


def apply_quirks(quirks: Iterable[Quirk], plan: ResponsePlan, request_body: bytes) -> ResponsePlan:
    """The plan with these quirks applied; ``request_body`` is the body of the chat request."""
    draft = ResponseDraft(dict(plan.headers), tools=offered_tools(request_body))
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


class RejectedRequest(Exception):
    """A request that gets an error, in OpenAI's format, instead of an answer.

    Args:
        status: HTTP status.
        message: Text for a person; it never contains a secret.
        param: The invalid field of the body, if there is one.
        code: OpenAI's short name for the error, if there is one.
        type: OpenAI's class of the error.
        headers: Further headers of the response.
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

    def plan(
        self, headers: Mapping[str, str], *, delay: float = 0.0, fault: FaultKind | None = None
    ) -> ResponsePlan:
        """The plan that sends this error, with these headers and those of the error."""
        return ResponsePlan(
            delay=delay,
            status=self.status,
            headers={"content-type": "application/json", **headers, **self.headers},
            content=msgspec.json.encode({"error": self.error}),
            fault=fault,
        )


def wrong_method(method: str, path: str, allowed: str) -> RejectedRequest:
    """The refusal of a method that the path does not have; ``allowed`` names those that it has."""
    message = f"Not allowed to {method} on {path}: use {allowed.replace(', ', ' or ')}."
    return RejectedRequest(405, message, code="method_not_supported", headers={"allow": allowed})
