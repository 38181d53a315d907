"""Reads model and token counts from a body: from events as they arrive, from JSON at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace.errors import CallError, InvalidReply
from headrace.replies import Reply
from headrace.wire.reply_bodies import read_reply_body
from headrace.wire.sse import EventParser
from headrace.wire.usage import UsageFields, parse_usage

_DONE = b"[DONE]"
_LAST_EVENTS = frozenset({b"message_stop", b"response.completed", b"response.failed", b"response.incomplete"})
_BLANK = b"\xef\xbb\xbf \t\r\n"


def read_usage(reply: Reply) -> None:
    """Set the model and usage of ``reply`` from its body, if that is a JSON object."""
    # Checked first, because parsing a megabyte of audio takes 45 ms before it fails.
    if reply.content[:1] == b"{" or reply.content[:64].lstrip(_BLANK)[:1] == b"{":
        with suppress(InvalidReply):
            read_reply_body(reply)


class UsageCounter:
    """Reads the parts of one body, and at the end sets the model and usage of ``reply``.

    At most ``max_bytes`` of JSON are kept until then. Bodies other than JSON and events are ignored.
    ``finished`` becomes true with the last event of a response, such as ``[DONE]`` of a chat.
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
        self.finished: bool = False

    def feed(self, part: bytes) -> None:
        """Read the next bytes."""
        if self._undecided:
            part = part.lstrip(_BLANK)  # without meaning in either format
            self._decide(part[:1])
        if self._events is not None:
            self._feed_events(self._events, part)
        elif self._json is not None:
            self._json += part
            if len(self._json) > self._max_bytes:
                self._json = None

    def end(self, *, complete: bool) -> None:
        """Finish at the end of the body."""
        if self._events is not None and complete:
            self._read_events(self._events.end())
        if self._json is None:
            self._reply.usage = self._counts.to_usage()
            if self._reply.service_tier is None:
                self._reply.service_tier = self._counts.tier
        elif complete:
            self._reply.content = bytes(self._json)
            read_usage(self._reply)

    def _decide(self, first: bytes) -> None:
        """Decide by the first byte: some servers label events as JSON, and some JSON as events."""
        if first:
            self._undecided = False
            if first != b"{":
                self._events = EventParser(self._max_bytes)
            elif self._may_be_json:
                self._json = bytearray()

    def _feed_events(self, events: EventParser, part: bytes) -> None:
        try:
            self._read_events(events.feed(part))
        except CallError:
            self._events = None  # these are not events

    def _read_events(self, events: Iterable[tuple[bytes, bytes]]) -> None:
        for name, data in events:
            if data == _DONE or name in _LAST_EVENTS:
                self.finished = True
            if b'"usage"' in data:
                with suppress(*NOT_JSON):
                    self._read_event(decode_json(data))

    def _read_event(self, event: Any) -> None:
        if not isinstance(event, Mapping):
            return
        for part in (event, event.get("message"), event.get("response")):
            if isinstance(part, Mapping):
                model, usage = part.get("model"), parse_usage(part.get("usage"))
                if isinstance(model, str):
                    self._reply.model = model
                if isinstance(part.get("service_tier"), str):
                    self._reply.service_tier = part["service_tier"]
                if usage is not None:
                    # The messages API counts the prompt at the start, and the output at the end.
                    self._counts = self._counts.merged_with(usage)
