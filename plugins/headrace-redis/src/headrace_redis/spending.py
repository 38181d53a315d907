"""The policy `redis-budget`: what calls did cost is counted where all processes see it."""

from __future__ import annotations

import logging

import attrs

from headrace import Call, CallError, Ending, Reply, Send, Stage
from headrace_redis.link import Link
from headrace_redis.purse import NANO

_log = logging.getLogger("headrace.redis")


@attrs.define(eq=False)
class SharedSpending:
    """Counts what each call did cost towards the budget of all; made by `headrace_redis.Account`.

    Outside of headrace-cost, because only there a reply's cost is known. Whether the budget is spent is
    looked at by `SharedPace`, where it comes with what is asked anyway. A reply is handed out once its cost
    is counted.
    """

    name = "redis-budget"
    stage = Stage.OBSERVE

    _link: Link = attrs.field(repr=False)
    _said: bool = attrs.field(default=False, init=False, repr=False)

    def wrap(self, send: Send) -> Send:
        """``send``, its replies' cost counted."""

        async def count(call: Call) -> Reply:
            try:
                reply = await send(call)
            except CallError as error:  # its attempts may have to be paid all the same
                if error.cost is not None or error.possible_cost is not None:
                    await self._count(error)
                raise
            if call.streamed:
                call.at_end(lambda ending: self._stream_ended(reply, ending))
            else:
                await self._count(reply)
            return reply

        return count

    async def _count(self, ended: Reply | CallError) -> None:
        if self._add(ended):
            await self._link.spending_told()

    def _stream_ended(self, reply: Reply, ending: Ending) -> None:
        self._add(reply)  # there is nothing to be awaited

    def _add(self, ended: Reply | CallError) -> bool:
        """Whether there was something to count; what attempts may have cost at most counts as spent."""
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
