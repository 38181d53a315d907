"""The repair policy: shows the model its invalid answer and the error, and asks again."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import attrs

from headrace import AnswerError, Call, CallError, Reply, Send, SettingsError, Stage, Usage
from headrace.plugins import encode_body


def _at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 1:
        raise SettingsError(f"repair: {attribute.name}={value!r}: must be at least 1")


@attrs.define(eq=False, kw_only=True)
class Repair:
    """Asks the model again when its answer does not match ``answer=``.

    The new request shows the model its answer and the error. An incomplete answer (cut off, filtered or
    refused: `AnswerError.finish_reason` is set) is not repaired. Calls without ``answer=`` pass unchanged.
    The usage of a reply, and so its cost, is the sum over all requests.

    Args:
        attempts: Requests per call, including the first one (default 2; 1: no repairs).

    Raises:
        SettingsError: ``attempts`` is below 1.
        AnswerError: From a call, when its last answer is still invalid. If a repair request fails in another
            way, that error is raised, with the `AnswerError` as its cause.
    """

    name = "repair"
    stage = Stage.PERSIST

    attempts: int = attrs.field(default=2, validator=_at_least_one)

    def wrap(self, send: Send) -> Send:
        """Return ``send`` with repairs, or ``send`` itself if ``attempts`` is 1."""
        if self.attempts == 1:
            return send

        def repair(call: Call) -> Awaitable[Reply]:
            # A call without a type needs no extra coroutine, so it costs nothing.
            return send(call) if call.request.answer is None else send_with_repairs(call)

        async def send_with_repairs(call: Call) -> Reply:
            usages: list[Usage] = []
            attempts, failed = 0, None
            while True:
                try:
                    reply = await send(call)
                except AnswerError as error:
                    invalid = error.partial
                    if invalid is None:
                        raise
                    attempts += 1
                    _add_usage(usages, invalid)
                    # An incomplete answer would be incomplete again.
                    if attempts == self.attempts or error.finish_reason is not None:
                        raise
                    failed = error
                    _request_repair(call, invalid, error)
                    call.notify("repair", attempt=attempts, error=str(error))
                except CallError as error:
                    if failed is None:
                        raise
                    raise _failed_repair(error, failed, usages) from failed
                else:
                    if attempts:
                        _add_usage(usages, reply)
                    return reply

        return repair


def _add_usage(usages: list[Usage], reply: Reply) -> None:
    """Set the usage of a reply to the sum over all requests so far; None if no endpoint reported usage."""
    if reply.usage is not None:
        usages.append(reply.usage)
    reply.usage = sum(usages[1:], usages[0]) if usages else None


def _failed_repair(error: CallError, failed: AnswerError, usages: list[Usage]) -> CallError:
    """Complete the error of a repair request: its message, and ``partial`` with the usage paid so far.

    The message does not quote the answer: only `AnswerError` does, and that is the cause.
    """
    error.args = (f"{error}; this request was made to repair an invalid answer", *error.args[1:])
    if error.partial is None:
        error.partial = failed.partial
    else:
        _add_usage(usages, error.partial)
    return error


def _request_repair(call: Call, reply: Reply, error: AnswerError) -> None:
    """Extend the conversation of a call by the invalid answer and the error."""
    body = dict(call.request.body or {})
    body["messages"] = [
        *body["messages"],
        {"role": "assistant", "content": reply.text},
        {"role": "user", "content": f"That is not valid: {error}. Answer again, with valid JSON alone."},
    ]
    call.request = attrs.evolve(call.request, body=body)
    call.content = encode_body(body)
