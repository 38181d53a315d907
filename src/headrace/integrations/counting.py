"""Model and token counts of a body that passes by: those of events as they come, of JSON at its end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from headrace.envelope import UsageFields, read_envelope
from headrace.errors import CallError, InvalidReply
from headrace.reply import NOT_JSON, Reply
from headrace.sse import EventParser

_DONE = b"[DONE]"
_LAST_EVENTS = frozenset({b"message_stop", b"response.completed", b"response.failed", b"response.incomplete"})
_read = msgspec.json.Decoder().decode
_BLANK = b"\xef\xbb\xbf \t\r\n"


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
        self._usage: dict[str, Any] = {}
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._may_be_json = kind in {"", "application/json"}
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
        if self._usage:
            self._reply.usage = msgspec.convert(self._usage, UsageFields, strict=False).public()
        elif self._json is not None and complete:
            self._reply.content = bytes(self._json)
            with suppress(InvalidReply):
                read_envelope(self._reply)

    def _decide(self, first: bytes) -> None:
        """By the first byte, for some event streams are labelled as JSON, and some JSON as events."""
        if first:
            self._undecided = False
            if first != b"{":
                self._events = EventParser()
            elif self._may_be_json:
                self._json = bytearray()

    def _feed_events(self, events: EventParser, part: bytes) -> None:
        try:
            for name, data in events.feed(part):
                if data == _DONE or name in _LAST_EVENTS:
                    self.finished = True
                if b'"usage"' in data:
                    with suppress(*NOT_JSON):
                        self._note(_read(data))
        except CallError:
            self._events = None  # not events after all

    def _note(self, event: Any) -> None:
        if not isinstance(event, Mapping):
            return
        for part in (event, event.get("message"), event.get("response")):
            if isinstance(part, Mapping):
                model, usage = part.get("model"), part.get("usage")
                if isinstance(model, str):
                    self._reply.model = model
                if isinstance(usage, Mapping):
                    # The messages API counts the prompt at the beginning, and the answer at the end.
                    self._usage |= {name: count for name, count in usage.items() if count}
