"""The repair policy: shows the model its own answer and what is wrong with it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import attrs
import msgspec

from headrace import AnswerError, Call, CallError, Reply, Send, SettingsError, Stage, Usage


def _at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 1:
        raise SettingsError(f"repair: {attribute.name}={value!r}: must be at least 1")


@attrs.define(eq=False, kw_only=True)
class Repair:
    """Asks again, up to ``attempts`` times in all (default 2; 1: never), where an answer is not ``answer=``.

    The model is shown its answer and what is wrong with it. An answer that is not whole (cut off, stopped by
    a filter, refused: `AnswerError.finish_reason`) is not asked for again, nor is anything asked for without
    ``answer=``. The usage of a reply, and so its cost, are those of all that was asked. The last
    `AnswerError` is raised as it is. If asking again fails otherwise, that error is raised, with the
    `AnswerError` as its cause. Raises `SettingsError` for ``attempts`` below 1.
    """

    name = "repair"
    stage = Stage.PERSIST

    attempts: int = attrs.field(default=2, validator=_at_least_one)

    def wrap(self, send: Send) -> Send:
        """``send`` with repairs; ``send`` itself where ``attempts`` is 1."""
        if self.attempts == 1:
            return send

        def repair(call: Call) -> Awaitable[Reply]:
            # A call without a type is handed on as it is, at no price.
            return send(call) if call.request.answer is None else ask(call)

        async def ask(call: Call) -> Reply:
            spent: list[Usage] = []
            asked, failed = 0, None
            while True:
                try:
                    reply = await send(call)
                except AnswerError as error:
                    invalid = error.partial
                    if invalid is None:
                        raise
                    asked += 1
                    _add_usage(spent, invalid)
                    # An answer that is not whole does not get better by being asked for in another form.
                    if asked == self.attempts or error.finish_reason is not None:
                        raise
                    failed = error
                    _ask_again(call, invalid, error)
                    call.notify("repair", attempt=asked, error=str(error))
                except CallError as error:
                    if failed is None:
                        raise
                    raise _failed_repair(error, failed, spent) from failed
                else:
                    if asked:
                        _add_usage(spent, reply)
                    return reply

        return repair


def _add_usage(spent: list[Usage], reply: Reply) -> None:
    """Have a reply count the tokens of all answers so far; nothing where no endpoint has said any."""
    if reply.usage is not None:
        spent.append(reply.usage)
    reply.usage = sum(spent[1:], spent[0]) if spent else None


def _failed_repair(error: CallError, failed: AnswerError, spent: list[Usage]) -> CallError:
    """The error of a call that was made to mend ``failed``; its ``partial`` is what was paid until then.

    The message quotes nothing of the answer: `AnswerError` alone does, and is the cause.
    """
    error.args = (f"{error}; it was asked again because its answer was not valid", *error.args[1:])
    if error.partial is None:
        error.partial = failed.partial
    else:
        _add_usage(spent, error.partial)
    return error


def _ask_again(call: Call, reply: Reply, error: AnswerError) -> None:
    body = dict(call.request.body or {})
    body["messages"] = [
        *body["messages"],
        {"role": "assistant", "content": reply.text},
        {"role": "user", "content": f"That is not valid: {error}. Answer again, with valid JSON alone."},
    ]
    call.request = attrs.evolve(call.request, body=body)
    call.content = msgspec.json.encode(body)
