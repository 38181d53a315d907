"""The contract of policies, as a test that plugin authors run on their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import attrs

from headrace._support.clock import on_asyncio
from headrace.calls import Call, Event
from headrace.client import Client
from headrace.errors import CallError, ConnectError
from headrace.policies import Observer, Policy, Send, Stage
from headrace.replies import Reply
from headrace.testing.fake import Answer, FakeEndpoint

_PATIENCE = 30.0
"""Seconds after which a check with many calls counts as hung."""

Make = Callable[[], Policy]


async def check_policy_contract(make: Make) -> None:
    """Test what every policy must do. Run this on trio and on asyncio.

    - It has a name and a stage. It passes on replies, also of streamed calls, and raises errors unchanged.
    - A cancelled call ends at once and does not count as a failure. The next call succeeds.
    - Many calls at once do not affect each other. All succeed even if only one attempt may be on the wire:
      the policy waits in ``call.waiting()``.
    - An outer policy may send a call again; ``wrap_attempt`` sees that as well.
    - ``notify``, if there is one, accepts any event.
    - Several open clients may share it, and a client may use it after another one. ``lifespan``, if there is
      one, leaves no task behind, also when the client's block is cancelled.
    - After its event loop has ended it works in another one: ``reset`` clears the state of the old loop.

    Args:
        make: Returns a new policy each time.

    Raises:
        AssertionError: The policy breaks the contract; the message describes how.
    """
    _check_names(make())
    await _check_replies(make)
    await _check_failures(make)
    await _check_streams(make)
    await _check_cancellation(make)
    await _check_many_calls(make)
    await _check_sending_again(make)
    await _check_events(make)
    await _check_lifespan(make)
    await _check_other_event_loop(make)


def _check_names(policy: Policy) -> None:
    assert policy.name, "a policy needs a name"
    assert policy.name == policy.name.lower(), f"{policy.name!r} is not in lower case"
    assert isinstance(policy.stage, Stage), f"{policy.stage!r} is not a headrace.Stage"


@asynccontextmanager
async def _open(endpoint: FakeEndpoint, *policies: Policy, **keywords: Any) -> AsyncIterator[Client]:
    """A client that leaves nothing behind when it is closed."""
    before = _tasks()
    async with endpoint.client(policies, **keywords) as client:
        yield client
        assert endpoint.in_flight == 0, "a finished call left an attempt in flight"
        assert client.in_flight == 0, "a finished call kept its token"
    assert _tasks() <= before, (
        "a task still runs after the client was closed; start it in group() of lifespan"
    )


def _tasks() -> int:
    """How many tasks the event loop has."""
    if on_asyncio():
        import asyncio

        return len(asyncio.all_tasks())
    import trio

    return trio.lowlevel.current_statistics().tasks_living


async def _check_replies(make: Make) -> None:
    async with _open(FakeEndpoint("Guten Tag"), make()) as client:
        reply = await client.chat("Hallo")
        assert reply.text == "Guten Tag", "the reply of a successful call was not returned"


async def _check_failures(make: Make) -> None:
    failure = ConnectError("refused")
    failure.retryable = False
    async with _open(FakeEndpoint(otherwise=failure), make()) as client:
        try:
            await client.chat("Hallo")
        except Exception as error:
            if error is not failure:
                raise AssertionError(f"the error was replaced by another one: {error!r}") from error
        else:
            raise AssertionError("an error was not raised")


async def _check_streams(make: Make) -> None:
    async with _open(FakeEndpoint(otherwise="Guten Tag auch"), make()) as client:
        async with client.stream("Hallo") as stream:
            text = "".join([chunk.text async for chunk in stream])
        assert text == "Guten Tag auch", "a stream was not passed on"
        async with client.stream("Guten Abend") as stream:
            async for _ in stream:
                break
        assert client.in_flight == 0, "a stream that was left early kept its token"
        assert (await client.chat("Hallo?")).text, "no call succeeds after a stream that was left early"


async def _check_cancellation(make: Make) -> None:
    endpoint = FakeEndpoint(Answer(delay=3600))
    async with _open(endpoint, make()) as client:
        cancelled = False

        async def call() -> None:
            nonlocal cancelled
            try:
                await client.chat("Hallo")
            except anyio.get_cancelled_exc_class():
                cancelled = True
                raise
            except Exception:
                return  # asserted below

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            with anyio.fail_after(_PATIENCE):
                while not endpoint.in_flight:  # noqa: ASYNC110 - there is no event for the start of an attempt
                    await anyio.sleep(0.001)
            group.cancel_scope.cancel()
        assert cancelled, "the policy swallowed a cancellation"
        assert endpoint.in_flight == 0, "a cancelled call left an attempt in flight"
        assert client.in_flight == 0, "a cancelled call kept its token"
        assert (await client.chat("Hallo")).text == "ok", "no call succeeds after a cancelled one"


async def _check_many_calls(make: Make) -> None:
    # All different, because a policy may make only one of several identical calls.
    different = [f"Hallo {number}" for number in range(50)]
    for max_in_flight in (10, 1):
        endpoint = FakeEndpoint(otherwise=Answer(delay=0.001))
        async with _open(endpoint, make(), max_in_flight=max_in_flight) as client:
            # Most of these are cancelled in flight, and must not block others.
            for number in range(20):
                with anyio.move_on_after(0.0001 * number):
                    await client.chat(f"Cancelled {number}")
            before, seen = len(endpoint.attempts), []
            with anyio.move_on_after(_PATIENCE):
                async with client.map(different) as outcomes:
                    seen = [outcome async for outcome in outcomes]
        assert seen, f"50 calls with max_in_flight={max_in_flight} take more than {_PATIENCE:g} s"
        failures = [outcome.error for outcome in seen if not outcome.ok]
        assert not failures, f"calls failed: {failures[:3]}"
        made = len(endpoint.attempts) - before
        assert made == 50, f"50 calls made {made} attempts"


@attrs.frozen
class _Surrounding:
    """A policy that passes each call to ``around``, with the inner ``send``."""

    name: str
    stage: Stage
    around: Callable[[Send, Call], Awaitable[Reply]]

    def wrap(self, send: Send) -> Send:
        return partial(self.around, send)


async def _send_again(send: Send, call: Call) -> Reply:
    """Send a failed call once more."""
    try:
        return await send(call)
    except CallError:
        return await send(call)


async def _check_sending_again(make: Make) -> None:
    failure = ConnectError("refused")
    failure.retryable = False
    async with _open(
        FakeEndpoint(failure, otherwise="at last"),
        make(),
        _Surrounding("contract-again", Stage.PERSIST, _send_again),
    ) as client:
        try:
            reply = await client.chat("Hallo")
        except CallError as error:
            raise AssertionError(f"a call fails although another policy sends it again: {error}") from error
        assert reply.text == "at last", "the reply of a second attempt was not returned"


async def _check_events(make: Make) -> None:
    policy = make()
    if not isinstance(policy, Observer):
        return
    notify = policy.notify

    async def notify_and_send(send: Send, call: Call) -> Reply:
        try:
            notify(Event("unheard-of", call, {"number": 1}))
        except Exception as error:
            raise AssertionError(f"notify raised {error!r} for an event of another policy") from error
        return await send(call)

    notifying = _Surrounding("contract-notifying", Stage.ACCOUNT, notify_and_send)
    async with _open(FakeEndpoint(), policy, notifying) as client:
        await client.chat("Hallo")


async def _check_lifespan(make: Make) -> None:
    policy, endpoint = make(), FakeEndpoint()
    # Two clients are open at once, and the first one makes the last call.
    async with _open(endpoint, policy) as first, endpoint.client([policy]) as second:
        for number, client in enumerate((first, second, first)):
            assert (await client.chat(f"Hallo {number}")).text == "ok", "two clients cannot share the policy"
    with anyio.CancelScope() as scope:
        async with _open(endpoint, policy) as client:
            assert (await client.chat("Guten Tag")).text == "ok", "a second client cannot use the policy"
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught, "the lifespan swallowed a cancellation"
    async with _open(endpoint, policy) as client:
        assert (await client.chat("Gute Nacht")).text == "ok", "no client can be opened after a cancelled one"


async def _check_other_event_loop(make: Make) -> None:
    policy, backend = make(), "asyncio" if on_asyncio() else "trio"

    async def use(prompt: str) -> None:
        with anyio.move_on_after(_PATIENCE) as scope:
            async with _open(FakeEndpoint(), policy) as client:
                assert (await client.chat(prompt)).text == "ok"
        assert not scope.cancelled_caught, "a call does not end"

    def use_twice() -> None:
        for prompt, begins in (("Hallo", 1e6), ("Guten Tag", 0.0)):
            try:
                anyio.run(use, prompt, backend=backend, backend_options=_clock(backend, begins))
            except Exception as error:
                raise AssertionError(
                    f"the policy fails in a second event loop: {error!r}; "
                    "reset() must clear the state of the old loop"
                ) from error

    await anyio.to_thread.run_sync(use_twice)


def _clock(backend: str, begins: float) -> dict[str, Any]:
    """Options of an event loop: on trio, a clock that starts at ``begins`` instead of a random time."""
    if backend == "asyncio":
        return {}
    import trio.testing

    clock = trio.testing.MockClock(rate=1.0)
    clock.jump(begins)
    return {"clock": clock}
