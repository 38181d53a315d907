"""The policy `redis-budget`: counts the cost of the calls of all processes."""

from __future__ import annotations

import logging

import attrs

from headrace import Call, CallError, Reply, Send, Stage, StreamResult
from headrace_redis.member import AccountMember
from headrace_redis.shared_budget import NANO

_log = logging.getLogger("headrace.redis")


@attrs.define(eq=False)
class SharedSpending:
    """Counts the cost of each call towards the shared budget; made by `headrace_redis.Account`.

    It is outside headrace-cost, because the cost of a reply is known only there. `SharedPace` checks the
    budget, because its exchanges return the spending of all. A reply is returned when its cost is reported.
    """

    name = "redis-budget"
    stage = Stage.OBSERVE

    _member: AccountMember = attrs.field(repr=False)
    _warned: bool = attrs.field(default=False, init=False, repr=False)

    def wrap(self, send: Send) -> Send:
        """Return ``send`` that counts the cost of its replies."""

        async def count(call: Call) -> Reply:
            try:
                reply = await send(call)
            except CallError as error:  # its attempts may be billed anyway
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
        """Count the cost of a call, and wait until it is reported."""
        if self._add(ended):
            await self._member.wait_until_spending_is_shared()

    def _stream_ended(self, reply: Reply, result: StreamResult) -> None:
        """Count the cost of a stream. `AccountMember.open` waits until it is reported, before it closes."""
        self._add(reply)

    def _add(self, ended: Reply | CallError) -> bool:
        """Count the known or highest possible cost of attempts; return whether there was any."""
        if ended.cost is None and ended.possible_cost is None and not self._warned:
            self._warned = True
            _log.warning(
                "the shared budget does not count calls of unknown cost; set their prices in headrace-cost"
            )
        spent = (ended.cost or 0) + (ended.possible_cost or 0)
        if not spent:
            return False
        self._member.spend(-int(-spent * NANO // 1))
        return True
