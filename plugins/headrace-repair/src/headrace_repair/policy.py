"""The repair policy: shows the model its own answer and what is wrong with it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, ClassVar

import attrs
import msgspec

from headrace import AnswerError, Call, Reply, Send, SettingsError, Stage, Usage


def _at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 1:
        raise SettingsError(f"repair: {attribute.name}={value!r}: must be at least 1")


@attrs.define(eq=False, kw_only=True)
class Repair:
    """Asks again, up to ``attempts`` times in all (default 2; 1: never), where an answer is no ``answer=``.

    The model is shown its answer and what is wrong with it. An answer that was cut off and a refusal are not
    asked for again, nor is anything asked for without ``answer=``. The usage of a reply, and so its cost, are
    those of all that was asked. The last `AnswerError` is raised as it is. Raises `SettingsError` for
    ``attempts`` below 1.
    """

    name: ClassVar[str] = "repair"
    stage: ClassVar[Stage] = Stage.PERSIST

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
            while True:
                try:
                    reply = await send(call)
                except AnswerError as error:
                    invalid = error.partial
                    if invalid is None:
                        raise
                    asked = len(spent) + 1
                    spent.append(invalid.usage or Usage())
                    if asked == self.attempts or not _mendable(invalid):
                        invalid.usage = sum(spent, Usage())
                        raise
                    _ask_again(call, invalid, error)
                    call.notify("repair", attempt=asked, error=str(error))
                else:
                    if spent:
                        reply.usage = sum(spent, reply.usage or Usage())
                    return reply

        return repair


def _mendable(reply: Reply) -> bool:
    """False for an answer that was cut off, and for a refusal: neither gets better by being asked again."""
    message = reply.body["choices"][0].get("message", {})
    return reply.finish_reason != "length" and not message.get("refusal")


def _ask_again(call: Call, reply: Reply, error: AnswerError) -> None:
    body = dict(call.request.body or {})
    body["messages"] = [
        *body["messages"],
        {"role": "assistant", "content": reply.text},
        {"role": "user", "content": f"That is not valid: {error}. Answer again, with valid JSON alone."},
    ]
    call.request = attrs.evolve(call.request, body=body)
    call.content = msgspec.json.encode(body)
