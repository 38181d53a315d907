"""The calls to one model at one endpoint: which may go now, which wait, and what limits them; pure.

Calls that wait go by priority, and within one in the order in which they came; nobody overtakes: a large call
does not starve among small ones. Times are in seconds on a clock that never goes back.

A call that waits has given back the tokens of its client's limiter. So its turn comes in two steps. When the
limits allow it, the call leaves the line and books its turn: what it needs is reserved, and others see that.
Then it takes its tokens again, which may take long. Only when it has them, it gives the booking back and goes
if the limits still allow it (`Lane.wait`), or else stands in line again, before those who have had no turn.
So what goes counts at the moment when it goes, and turns that have become old do not go all at once.

Three things limit a lane: the buckets of the limits that are set or that answers say; a rate that was learnt
from refusals (`headrace_pace.learnt`); and a pause. `headrace.plugins.RateLimitDetector` says which refusals
come from a limit.
"""

from __future__ import annotations

import attrs

from headrace.plugins import PerMinute, RateLimitDetector, RateLimitEvidence, Waiter, WaitingQueue
from headrace_pace.allowance import Allowance
from headrace_pace.bucket import INSTANT, Bucket
from headrace_pace.headers import KINDS, Said
from headrace_pace.learnt import Learnt
from headrace_pace.need import Lengths, Need
from headrace_pace.pause import LONGEST_STEP, Pause


@attrs.frozen
class State:
    """What may be sent at once now; None: no limit is known. Below 0 it is owed, and waited off.

    ``paused_for``: seconds until the pause that holds is over, 0 for none. ``waiting``: calls that wait.
    ``learnt_rate``: requests a second to which refusals have limited the calls, None: they have not.
    """

    requests: int | None = None
    tokens: int | None = None
    paused_for: float = 0.0
    waiting: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    learnt_rate: float | None = None


@attrs.define(eq=False)
class Passage:
    """A call that was let through: when, as which, what had been let through by then, and what it may need.

    ``need`` is None where no tokens are counted. ``unbounded``: its body sets no limit to its answer.
    """

    begun: float
    number: int
    spent: Need
    need: Need | None = None
    unbounded: bool = False


class Lane:
    """One endpoint and model, with the limits a minute that are set for it, by their kind.

    ``sent`` counts the attempts let through so far, ``refused`` those that got a 429, ``spent`` what they
    were taken to need, where that was counted. ``free`` is true while there is nothing to wait for: no limit
    is known and no pause holds. ``watched``: what becomes of each attempt is to be told by `passed`.
    ``line``: the calls that wait for their turn; ``unsent``: how many these are, with those that have booked.
    """

    def __init__(self, limits: PerMinute, burst: float, now: float) -> None:
        self.refusals = RateLimitDetector()
        self.learnt = Learnt(now)
        self.pause = Pause()
        self.lengths = Lengths()
        self.line: WaitingQueue[Need] = WaitingQueue()
        self.unsent = 0
        self.sent = self.refused = 0
        self.spent = Need(0.0)
        self.due = float("inf")
        self.watched = False
        self._limits = {
            kind: (index, Allowance(limits[index], burst, 1.0, now)) for index, kind in enumerate(KINDS)
        }
        self._unbounded: set[Passage] = set()
        self._buckets: list[tuple[int, Bucket]] = []
        self.counts_tokens = False
        self.free = True
        self._see_buckets()

    # Who may go.

    def wait(self, now: float, need: Need) -> float:
        """Seconds until a call that needs so much may go if it is the next; 0 for at once."""
        wait = self.pause.wait(now) if self.pause.holds else 0.0
        if self.learnt.bucket is not None:
            wait = max(wait, self.learnt.wait(now))
        for index, bucket in self._buckets:
            until = bucket.wait(now, need[index])
            if until > wait:
                wait = until
        return wait if wait > INSTANT else 0.0

    def wait_behind(self, now: float, need: Need) -> float:
        """The same for one that comes after those that have booked; infinite where it is not known."""
        waits = [bucket.wait_behind(now, need[index]) for index, bucket in self._buckets]
        wait = max(self.pause.wait_behind(now), self.learnt.wait_behind(now), *waits)
        return wait if wait > INSTANT else 0.0

    def go(self, now: float, need: Need) -> int:
        """Let a call through; returns the number of its attempt."""
        self.sent += 1
        for index, bucket in self._buckets:
            bucket.take(now, need[index])
        if self.counts_tokens:
            requests, tokens, prompt, output = self.spent
            self.spent = Need(requests + 1.0, tokens + need[1], prompt + need[2], output + need[3])
        if self.pause.holds:
            self.pause.sent(now, self.sent)
            self.watched = True
        if self.learnt.bucket is not None and not self.learnt.take(now):
            self.learnt.lift()
            self.refusals.reset()
        return self.sent

    def join(self, waiter: Waiter[Need]) -> None:
        """Stand in line, until `leave`."""
        self.line.join(waiter)
        self.unsent += 1

    def serve(self, now: float) -> None:
        """Book the turns of those at the front of the line whose turn it is, and wake them."""
        while (waiter := self.line.first()) and self.wait_behind(now, waiter.wanted) == 0:
            for index, bucket in self._buckets:
                bucket.reserve(now, waiter.wanted[index])
            if self.learnt.bucket is not None:
                self.learnt.bucket.reserve(now, 1.0)
            self.pause.reserve(waiter)
            self.line.serve(waiter)

    def leave(self, now: float, waiter: Waiter[Need]) -> None:
        """Go out of the line, or give back what is booked: to go now, or for good."""
        self.unsent -= 1
        if not waiter.served:
            self.line.leave(waiter)
        else:
            for index, bucket in self._buckets:
                bucket.release(now, waiter.wanted[index])
            if self.learnt.bucket is not None:
                self.learnt.bucket.release(now, 1.0)
            self.pause.release(waiter)
        self._see_state()

    def turn(self, now: float, priority: float = 0) -> float:
        """Seconds that a call which joins now waits at least, if nobody before it gives up.

        By the pause and by the requests; tokens may come back, and so nobody is given up on for them.
        """
        wait, ahead = self.pause.left(now), self.line.ahead_of(priority) + 1.0
        for index, bucket in self._buckets:
            if index == 0:
                wait = max(wait, bucket.until(now, ahead))
        if self.learnt.bucket is not None:
            wait = max(wait, self.learnt.bucket.until(now, ahead))
        return wait

    # What calls cost.

    def begin(self, passage: Passage) -> None:
        """A call whose tokens are counted is sent."""
        if passage.unbounded:
            self._unbounded.add(passage)

    def settle(self, now: float, passage: Passage, used: Need) -> None:
        """A call is over that used so much: give back what it was taken to need, and take that."""
        if passage.need is None:
            return
        self._unbounded.discard(passage)
        for index, bucket in self._buckets:
            if index:
                bucket.take(now, used[index] - passage.need[index])

    def learn_length(self, now: float, tokens: int) -> None:
        """An answer had so many tokens; those under way are then as likely to be longer as those to come."""
        longer = self.lengths.learn(tokens)
        if not longer:
            return
        more = Need(0.0, longer, 0.0, longer)
        for passage in self._unbounded:
            assert passage.need is not None
            passage.need = Need(*[need + extra for need, extra in zip(passage.need, more, strict=True)])
        for index, bucket in self._buckets:
            if index:
                bucket.take(now, more[index] * len(self._unbounded))

    def hear(self, said: dict[str, Said], now: float, passage: Passage, need: Need) -> None:
        """Take account of the limits that an answer said, to a call that was taken to need so much."""
        requests_since = self.sent - passage.number
        for name, each in said.items():
            known = self._limits.get(name)
            if known is None:
                known = self._limits[name] = (KINDS.index(each.kind), Allowance(None, 1.0, 1.0, now))
            index, allowance = known
            if index == 0:
                since: float = requests_since
            elif self.counts_tokens:
                since = self.spent[index] - passage.spent[index]
            else:  # nobody counted so far
                since = requests_since * need[index]
            had = allowance.bucket
            allowance.hear(each, now, now - passage.begun, since)
            if allowance.bucket is not had:
                self._see_buckets()

    # What refusals say.

    def refuse(
        self,
        now: float,
        passage: Passage,
        asked: float | None,
        *,
        exhausted: bool,
        step: float = LONGEST_STEP,
    ) -> float | None:
        """An attempt got a 429 that asks for so many seconds, None: for none.

        ``exhausted``: it says that nothing is left of a limit. ``step``: see `Pause.refused`. Returns how
        long the pause is that begins with it, None where none does.
        """
        number = passage.number
        evidence = RateLimitEvidence.NOTHING
        if not exhausted:
            evidence = self.refusals.record_rejection(number, passage.begun, now, asked, self.sent)
        self.refused += 1
        began = None
        if exhausted or evidence is RateLimitEvidence.DOMINANT or self.pause.holds:
            held = self.pause.holds
            began = self.pause.refused(now, number, asked, step)
            if not held and (evidence is RateLimitEvidence.DOMINANT or not self._buckets):
                self.learnt.stopped(now, self.pause.until, self.sent - self.refused)
            # Nothing has been saved up when it is over.
            for _, bucket in self._buckets:
                bucket.drain(now, self.pause.until)
        elif evidence is RateLimitEvidence.SUSPECTED:
            lately, seconds = self.refusals.accepted, self.refusals.seconds
            if not self.learnt.found(now, self.sent - self.refused, lately, seconds):
                self.refusals.postpone_test()
        if evidence is RateLimitEvidence.CHANCE:
            self.learnt.lift()
        self._see_state()
        return began

    def passed(self, now: float, number: int, *, succeeded: bool) -> None:
        """What becomes of an attempt that was not refused, while the lane is ``watched``."""
        self.pause.ended(number, succeeded=succeeded)
        self.refusals.record_acceptance(number, now)
        self._see_state()

    def paused_for(self, now: float) -> float:
        """Seconds until the pause is over, 0 where none holds."""
        return self.pause.left(now)

    def state(self, now: float) -> State:
        """What may be sent at once now."""
        least: dict[int, int] = {}
        for index, bucket in self._buckets:
            level = int(bucket.available(now))
            least[index] = min(least.get(index, level), level)
        rate = None if self.learnt.bucket is None else self.learnt.bucket.rate
        return State(
            least.get(0),
            least.get(1),
            self.paused_for(now),
            len(self.line),
            least.get(2),
            least.get(3),
            rate,
        )

    def _see_buckets(self) -> None:
        self._buckets = [
            (index, allowance.bucket)
            for index, allowance in self._limits.values()
            if allowance.bucket is not None
        ]
        self.counts_tokens = any(index for index, _ in self._buckets)
        self._see_state()

    def _see_state(self) -> None:
        self.watched = self.pause.holds or self.refusals.testing
        limited = self._buckets or self.unsent or self.pause.holds or self.learnt.bucket is not None
        self.free = not limited
