"""The logging policy: one line a call, and what calls told of: retries, circuits, pauses and others."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

import attrs

from headrace import Call, Event, Reply, Send, Stage, StatusError, StreamResult
from headrace_logging.fields import (
    body_text,
    call_fields,
    error_fields,
    line,
    reply_fields,
    without_key,
)

_log = logging.getLogger("headrace.calls")

_LEVELS = dict.fromkeys(("retry", "retry_budget", "failover", "circuit", "pause"), logging.WARNING)
_LEVELS |= dict.fromkeys(("hedge", "adaptive", "redis"), logging.INFO)
"""The events that make a line, and its level. Others are not for here: what they tell may quote an answer.

Redis is no warning, because headrace-redis has one of its own.
"""


@attrs.define(eq=False, kw_only=True)
class Logging:
    """Logs calls through the standard library, under the logger ``headrace.calls``.

    INFO: one line for each call that succeeded or was cancelled, each hedge sent or won, each limit that
    headrace-adaptive changes, and Redis away or back. WARNING: one for each call that failed, each retry and
    failover, a retry budget used up, each circuit that opens, half opens or closes, and each pause that a 429
    begins. DEBUG: the bodies of request and answer, up to 2,000 characters each, only with
    ``bodies`` (default False). The pairs of a line are attributes of its record as well (``extra``), for
    structlog and JSON formatters. Keys are never logged.

    Levels are asked for at each call, so they may be changed at any time; a level that is off costs a look.
    """

    name = "logging"
    stage = Stage.OBSERVE

    bodies: bool = False

    def wrap(self, send: Send) -> Send:
        """``send``, and a line when it is over."""

        async def observe(call: Call) -> Reply:
            try:
                reply = await send(call)
            except Exception as error:
                if _log.isEnabledFor(logging.WARNING):
                    self._failed(call, error)
                raise
            except BaseException:
                # Not an Exception: a cancellation, which is nobody's failure.
                self._cancelled(call)
                raise
            if call.streamed:
                call.add_done_callback(functools.partial(self._stream_ended, call, reply))
            elif _log.isEnabledFor(logging.INFO):
                self._ok(call, reply, "call ok")
            return reply

        return observe

    def _stream_ended(self, call: Call, reply: Reply, result: StreamResult) -> None:
        if isinstance(result.error, Exception):
            if _log.isEnabledFor(logging.WARNING):
                self._failed(call, result.error)
        elif result.error is not None:
            self._cancelled(call)
        elif _log.isEnabledFor(logging.INFO):
            self._ok(call, reply, "call ok" if result.complete else "stream left early")

    def _ok(self, call: Call, reply: Reply, event: str) -> None:
        _write(call, logging.INFO, event, call_fields(call, call.now()) | reply_fields(reply))
        self._bodies(call, reply.content)

    def _cancelled(self, call: Call) -> None:
        if _log.isEnabledFor(logging.INFO):
            _write(call, logging.INFO, "call cancelled", call_fields(call, call.now()))

    def notify(self, event: Event) -> None:
        """Log what happened to a call, where it is one of the events that are logged."""
        level = _LEVELS.get(event.name)
        if level is not None and _log.isEnabledFor(level):
            data = {f"headrace.{event.name}.{key}": _plain(value) for key, value in event.data.items()}
            fields = call_fields(event.call, event.call.now()) | data
            _write(event.call, level, event.name, fields)

    def _failed(self, call: Call, error: Exception) -> None:
        fields = call_fields(call, call.now()) | error_fields(call, error, self.bodies)
        _write(call, logging.WARNING, "call failed", fields)
        self._bodies(call, error.body if isinstance(error, StatusError) else b"")

    def _bodies(self, call: Call, answer: bytes) -> None:
        if not self.bodies or not _log.isEnabledFor(logging.DEBUG):
            return
        whose = {} if call.request.id is None else {"headrace.id": call.request.id}
        for event, content in (("request body", call.content), ("answer body", answer)):
            if content:
                _write(
                    call, logging.DEBUG, event, whose | {"headrace.body": body_text(content, call.endpoint)}
                )


def _plain(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _write(call: Call, level: int, event: str, fields: Mapping[str, Any]) -> None:
    fields = without_key(fields, call.endpoint)
    # The line is an argument, so that a percent sign in it is no format.
    _log.log(level, "%s", line(event, fields), extra={"headrace.event": event, **fields})
