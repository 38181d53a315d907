"""The logging policy: one line per call, and one per event such as a retry, a circuit change or a pause."""

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
    logfmt_line,
    redact_fields,
    reply_fields,
)

_log = logging.getLogger("headrace.calls")

_LEVELS = dict.fromkeys(("retry", "retry_budget", "failover", "circuit", "pause"), logging.WARNING)
_LEVELS |= dict.fromkeys(("hedge", "adaptive", "redis"), logging.INFO)
"""The events that are logged, and their levels. Other events are not logged: they may quote an answer.

``redis`` is not a warning, because headrace-redis logs its own.
"""


@attrs.define(eq=False, kw_only=True)
class Logging:
    """Logs calls through the standard library, with the logger ``headrace.calls``.

    One line for each of these:

    - INFO: a call that succeeded or was cancelled, a hedge sent or won, a limit that headrace-adaptive
      changed, and Redis lost or found again.
    - WARNING: a call that failed, a retry, a failover, a retry budget used up, a change of a circuit, and a
      pause after a 429.
    - DEBUG: the bodies of request and reply, only with ``bodies``.

    The fields of a line are also attributes of its record (``extra``), for structlog and JSON formatters.
    Keys are never logged. Levels are checked at each call, so they may change at any time.

    Args:
        bodies: Log the bodies at DEBUG, up to 2,000 characters each (default False).

    Example:
        >>> client = headrace.Client(policies=[Logging(bodies=True)])
    """

    name = "logging"
    stage = Stage.OBSERVE

    bodies: bool = False

    def wrap(self, send: Send) -> Send:
        """Return ``send`` with one line logged at the end of each call."""

        async def observe(call: Call) -> Reply:
            try:
                reply = await send(call)
            except Exception as error:
                if _log.isEnabledFor(logging.WARNING):
                    self._log_failure(call, error)
                raise
            except BaseException:
                # Not an Exception: a cancellation, which is not a failure.
                self._log_cancelled(call)
                raise
            if call.streamed:
                call.add_done_callback(functools.partial(self._on_stream_end, call, reply))
            elif _log.isEnabledFor(logging.INFO):
                self._log_success(call, reply, "call ok")
            return reply

        return observe

    def _on_stream_end(self, call: Call, reply: Reply, result: StreamResult) -> None:
        if isinstance(result.error, Exception):
            if _log.isEnabledFor(logging.WARNING):
                self._log_failure(call, result.error)
        elif result.error is not None:
            self._log_cancelled(call)
        elif _log.isEnabledFor(logging.INFO):
            self._log_success(call, reply, "call ok" if result.complete else "stream left early")

    def _log_success(self, call: Call, reply: Reply, event: str) -> None:
        _log_event(call, logging.INFO, event, call_fields(call, call.now()) | reply_fields(reply))
        self._log_bodies(call, reply.content)

    def _log_cancelled(self, call: Call) -> None:
        if _log.isEnabledFor(logging.INFO):
            _log_event(call, logging.INFO, "call cancelled", call_fields(call, call.now()))

    def notify(self, event: Event) -> None:
        """Log an event of a call, if it is one of those in ``_LEVELS``."""
        level = _LEVELS.get(event.name)
        if level is not None and _log.isEnabledFor(level):
            data = {f"headrace.{event.name}.{key}": _rounded(value) for key, value in event.data.items()}
            fields = call_fields(event.call, event.call.now()) | data
            _log_event(event.call, level, event.name, fields)

    def _log_failure(self, call: Call, error: Exception) -> None:
        fields = call_fields(call, call.now()) | error_fields(call, error, self.bodies)
        _log_event(call, logging.WARNING, "call failed", fields)
        self._log_bodies(call, error.body if isinstance(error, StatusError) else b"")

    def _log_bodies(self, call: Call, reply: bytes) -> None:
        if not self.bodies or not _log.isEnabledFor(logging.DEBUG):
            return
        call_id = {} if call.request.id is None else {"headrace.id": call.request.id}
        for event, content in (("request body", call.content), ("answer body", reply)):
            if content:
                _log_event(
                    call, logging.DEBUG, event, call_id | {"headrace.body": body_text(content, call.endpoint)}
                )


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _log_event(call: Call, level: int, event: str, fields: Mapping[str, Any]) -> None:
    fields = redact_fields(fields, call.endpoint)
    # The line is an argument, so that a percent sign in it is not taken for a format.
    _log.log(level, "%s", logfmt_line(event, fields), extra={"headrace.event": event, **fields})
