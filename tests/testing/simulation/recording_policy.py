"""A policy that changes nothing, for who wants to know when calls go and what comes back."""

from __future__ import annotations

import attrs

from headrace import Call, Reply, Send, Stage


@attrs.define(eq=False)
class RecordingPolicy:
    """Notes the moment of each attempt, and each reply; innermost where it comes last."""

    name = "watching"
    stage = Stage.PACE

    moments: list[float] = attrs.field(factory=list)
    replies: list[Reply] = attrs.field(factory=list)

    def wrap(self, send: Send) -> Send:
        """``send``, with notes taken."""

        async def watch(call: Call) -> Reply:
            self.moments.append(call.now())
            reply = await send(call)
            self.replies.append(reply)
            return reply

        return watch
