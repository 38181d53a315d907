"""The contract that every policy keeps, as a test that plugin authors run on theirs."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from headrace.errors import ConnectError
from headrace.model import Policy, Stage
from headrace.testing.fake import Answer, FakeEndpoint


async def check_policy_contract(make: Callable[[], Policy]) -> None:
    """Assert what any policy must do, on one that ``make`` returns anew each time.

    It has a name and a stage; a call that succeeds comes through with its reply; a failure comes out as
    the error it is; a cancelled call ends at once, is not taken for a failure, and leaves the policy fit
    for the next call; many calls at once do not disturb each other. Run it on trio and on asyncio.
    """
    policy = make()
    assert policy.name, "a policy needs a name"
    assert policy.name == policy.name.lower(), f"{policy.name!r} is not in lower case"
    assert isinstance(policy.stage, Stage), f"{policy.stage!r} is no headrace.Stage"

    endpoint = FakeEndpoint("Guten Tag")
    async with endpoint.client([make()]) as client:
        reply = await client.chat("Hallo")
        assert reply.text == "Guten Tag", "a success did not come through"

    failure = ConnectError("refused")
    failure.retryable = False
    async with FakeEndpoint(otherwise=failure).client([make()]) as client:
        try:
            await client.chat("Hallo")
        except ConnectError as error:
            if error is not failure:
                raise AssertionError(f"a failure came out as another: {error!r}") from error
        else:
            raise AssertionError("a failure did not come out")

    endpoint = FakeEndpoint(Answer(delay=3600))
    async with endpoint.client([make()]) as client:
        with anyio.move_on_after(0.01) as scope:
            await client.chat("Hallo")
        assert scope.cancelled_caught, "the policy swallowed a cancellation"
        assert endpoint.in_flight == 0, "a cancelled call left an attempt under way"
        assert client.in_flight == 0, "a cancelled call kept its slot"
        assert (await client.chat("Hallo")).text == "ok", "no call succeeds after a cancelled one"

    endpoint = FakeEndpoint(otherwise=Answer(delay=0.001))
    different = [
        f"Hallo {number}" for number in range(50)
    ]  # to make one of those that are the same is allowed
    async with endpoint.client([make()], max_in_flight=10) as client, client.map(different) as outcomes:
        seen = [outcome async for outcome in outcomes]
    assert all(outcome.ok for outcome in seen), f"calls failed: {[o.error for o in seen if not o.ok][:3]}"
    assert len(endpoint.attempts) == 50, f"50 calls made {len(endpoint.attempts)} attempts"
