"""A policy that records attempts and replies, and changes nothing."""

from __future__ import annotations

import attrs

from headrace import Call, Reply, Send, Stage


@attrs.define(eq=False)
class RecordingPolicy:
    """Records the time of each attempt, and each reply. It must be the innermost policy."""

    name = "watching"
    stage = Stage.PACE

    moments: list[float] = attrs.field(factory=list)
    replies: list[Reply] = attrs.field(factory=list)

    def wrap(self, send: Send) -> Send:
        """Return ``send`` with recording."""

        async def record(call: Call) -> Reply:
            self.moments.append(call.now())
            reply = await send(call)
            self.replies.append(reply)
            return reply

        return record
