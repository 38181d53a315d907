"""The policy `redis-budget`: counts what calls cost where all processes see it."""

from __future__ import annotations

import logging

import attrs

from headrace import Call, CallError, Reply, Send, Stage, StreamResult
from headrace_redis.link import Link
from headrace_redis.purse import NANO

_log = logging.getLogger("headrace.redis")


@attrs.define(eq=False)
class SharedSpending:
    """Counts what each call cost towards the budget of all; made by `headrace_redis.Account`.

    It is outside headrace-cost, because only there a reply's cost is known. `SharedPace` checks the budget,
    because its exchanges say what all have spent. A reply is handed out once its cost is counted.
    """

    name = "redis-budget"
    stage = Stage.OBSERVE

    _link: Link = attrs.field(repr=False)
    _said: bool = attrs.field(default=False, init=False, repr=False)

    def wrap(self, send: Send) -> Send:
        """``send``, with the cost of its replies counted."""

        async def count(call: Call) -> Reply:
            try:
                reply = await send(call)
            except CallError as error:  # its attempts may be billed all the same
                if error.cost is not None or error.possible_cost is not None:
                    await self._count(error)
                raise
            if call.streamed:
                call.add_done_callback(lambda result: self._stream_ended(reply, result))
            else:
                await self._count(reply)
            return reply

        return count

    async def _count(self, ended: Reply | CallError) -> None:
        if self._add(ended):
            await self._link.spending_told()

    def _stream_ended(self, reply: Reply, result: StreamResult) -> None:
        self._add(reply)  # cannot wait until it is told; `Link.open` does, before the client is closed

    def _add(self, ended: Reply | CallError) -> bool:
        """Count what attempts cost, or may have cost at most; returns whether there was anything to count."""
        if ended.cost is None and ended.possible_cost is None and not self._said:
            self._said = True
            _log.warning(
                "the shared budget does not count calls of unknown cost; headrace-cost has their prices"
            )
        spent = (ended.cost or 0) + (ended.possible_cost or 0)
        if not spent:
            return False
        self._link.spend(-int(-spent * NANO // 1))
        return True
