"""Model and token counts of a body that passes by: those of events as they come, of JSON at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace.errors import CallError, InvalidReply
from headrace.replies import Reply
from headrace.wire.sse import EventParser
from headrace.wire.success_bodies import read_envelope
from headrace.wire.usage import UsageFields, usage_fields

_DONE = b"[DONE]"
_LAST_EVENTS = frozenset({b"message_stop", b"response.completed", b"response.failed", b"response.incomplete"})
_BLANK = b"\xef\xbb\xbf \t\r\n"


def count_whole(reply: Reply) -> None:
    """Write into ``reply`` what its body says of model and usage, if that is a JSON object."""
    # Looked at first, because it takes 45 ms to find that a megabyte of sound is not JSON of any kind.
    if reply.content[:1] == b"{" or reply.content[:64].lstrip(_BLANK)[:1] == b"{":
        with suppress(InvalidReply):
            read_envelope(reply)


class PassingCounter:
    """Sees the pieces of one body, and at its end writes into ``reply`` what they say of model and usage.

    At most ``max_bytes`` of JSON are kept until then; what is neither JSON nor events is not looked at.
    ``finished`` becomes true with the event that is an answer's last, as ``[DONE]`` is a chat's.
    """

    def __init__(self, reply: Reply, max_bytes: int) -> None:
        self._reply = reply
        self._max_bytes = max_bytes
        self._events: EventParser | None = None
        self._json: bytearray | None = None
        self._counts = UsageFields()
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._may_be_json = kind in {"", "application/json", "text/event-stream"}
        self._undecided = self._may_be_json or kind.startswith("text/")
        self.finished = False

    def feed(self, part: bytes) -> None:
        """Look at the next bytes."""
        if self._undecided:
            part = part.lstrip(_BLANK)  # which means nothing in either
            self._decide(part[:1])
        if self._events is not None:
            self._feed_events(self._events, part)
        elif self._json is not None:
            self._json += part
            if len(self._json) > self._max_bytes:
                self._json = None

    def end(self, *, complete: bool) -> None:
        """No more is to come."""
        if self._events is not None and complete:
            self._look_at(self._events.end())
        if self._json is None:
            self._reply.usage = self._counts.public()
            if self._reply.service_tier is None:
                self._reply.service_tier = self._counts.tier
        elif complete:
            self._reply.content = bytes(self._json)
            count_whole(self._reply)

    def _decide(self, first: bytes) -> None:
        """By the first byte, for some event streams are labelled as JSON, and some JSON as events."""
        if first:
            self._undecided = False
            if first != b"{":
                self._events = EventParser(self._max_bytes)
            elif self._may_be_json:
                self._json = bytearray()

    def _feed_events(self, events: EventParser, part: bytes) -> None:
        try:
            self._look_at(events.feed(part))
        except CallError:
            self._events = None  # these are not events

    def _look_at(self, events: Iterable[tuple[bytes, bytes]]) -> None:
        for name, data in events:
            if data == _DONE or name in _LAST_EVENTS:
                self.finished = True
            if b'"usage"' in data:
                with suppress(*NOT_JSON):
                    self._note(decode_json(data))

    def _note(self, event: Any) -> None:
        if not isinstance(event, Mapping):
            return
        for part in (event, event.get("message"), event.get("response")):
            if isinstance(part, Mapping):
                model, usage = part.get("model"), usage_fields(part.get("usage"))
                if isinstance(model, str):
                    self._reply.model = model
                if isinstance(part.get("service_tier"), str):
                    self._reply.service_tier = part["service_tier"]
                if usage is not None:
                    # The messages API counts the prompt at the beginning, and the answer at the end.
                    self._counts = self._counts.updated(usage)
