"""Keys from a function: when it is called, what is sent, what is never shown."""

from __future__ import annotations

import functools
import hashlib
import math
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from headrace import (
    AuthenticationError,
    Call,
    CallError,
    CallTimeout,
    Client,
    CredentialError,
    Endpoint,
    Reply,
    Request,
    Secret,
    SettingsError,
)
from headrace._support.redaction import MAX_KEYS
from headrace.keys import RefreshableKey
from headrace.testing import Answer, FakeEndpoint
from headrace.transports.memory import MemoryTransport
from headrace.wire.error_scope import ErrorScope, shared_error
from headrace_retry import Retry

pytestmark = pytest.mark.anyio

URL = "https://llm.example/v1"


def token(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


class Issuer:
    """A key provider: returns the same key until it is ``expired``; counts its calls."""

    def __init__(self, *, delay: float = 0.0) -> None:
        self.calls = 0
        self.number = 1
        self.delay = delay
        self.failure: BaseException | None = None

    async def __call__(self) -> str:
        self.calls += 1
        if self.delay:
            await anyio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        return token(self.number)


class Guarded:
    """An endpoint that accepts the valid key and answers others with a 401 that repeats them."""

    def __init__(self, issuer: Issuer | None = None) -> None:
        self.fake = FakeEndpoint()
        self.issuer = issuer
        self.sent: list[str] = []
        self.delay = 0.0

    async def handle(self, call: Call) -> Reply:
        [(_, carried)] = call.endpoint.credentials().items()
        key = carried.removeprefix("Bearer ")
        self.sent.append(key)
        if self.delay:
            await anyio.sleep(self.delay)
        if self.issuer is None or key != token(self.issuer.number):
            body = {"error": {"message": f"{key} has expired", "code": "invalid_api_key"}}
            return await FakeEndpoint(Answer(status=401, body=body)).handle(call)
        return await self.fake.handle(call)

    def client(self, api_key: Any, **keywords: Any) -> Client:
        usual: dict[str, Any] = {"base_url": URL, "model": "m", "policies": []}
        return Client(transport=MemoryTransport(self.handle), api_key=api_key, **usual | keywords)


async def chat(client: Client) -> str:
    return (await client.chat("x")).text


async def stream(client: Client) -> str:
    async with client.stream("x") as pieces:
        return "".join([piece.text async for piece in pieces])


async def embed(client: Client) -> str:
    return str(len((await client.embed(["x"])).vectors))


async def several(client: Client) -> str:
    async with client.map(["x", "y"]) as outcomes:
        texts = [outcome.unwrap().text async for outcome in outcomes]
    return " ".join(texts)


CALLS = [chat, stream, embed, several]


# When the key is fetched.


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("key_header", [None, "api-key"])
async def test_the_key_is_fetched_before_the_first_request_and_after_a_401(
    call: Callable[[Client], Any], key_header: str | None
) -> None:
    issuer = Issuer()
    guarded = Guarded(issuer)
    where = {"base_url": None, "endpoints": [Endpoint(URL, issuer, key_header=key_header)]}
    async with guarded.client(None, **where) as client:
        assert issuer.calls == 0
        first = await call(client)
        assert (issuer.calls, set(guarded.sent)) == (1, {token(1)})
        assert await call(client) == first
        assert issuer.calls == 1
        issuer.number = 2
        guarded.sent.clear()
        assert await call(client) == first
    assert issuer.calls == 2
    assert set(guarded.sent) == {token(1), token(2)}


async def test_a_call_with_answer_uses_the_new_key() -> None:
    issuer = Issuer()
    guarded = Guarded(issuer)
    async with guarded.client(issuer) as client:
        await client.chat("x")
        issuer.number = 2
        guarded.fake.then('{"a": 1}')
        reply = await client.chat("x", answer=dict[str, int])
    assert reply.answer == {"a": 1}
    assert reply.attempts == 2


@pytest.mark.parametrize(
    "source",
    [
        lambda: token(1),
        lambda: Secret(token(1)),
        Issuer(),
        functools.partial(token, 1),
        Issuer().__call__,
    ],
    ids=["function", "secret", "async object", "partial", "async method"],
)
async def test_any_callable_can_provide_the_key(source: Any) -> None:
    guarded = Guarded(Issuer())
    async with guarded.client(source) as client:
        assert await chat(client) == "ok"
    assert guarded.sent == [token(1)]


async def test_an_attempt_with_a_new_key_counts_and_is_not_repeated() -> None:
    issuer = Issuer()
    guarded = Guarded(issuer)
    async with guarded.client(issuer) as client:
        await chat(client)
        issuer.number = 2
        assert (await client.chat("x")).attempts == 2
        guarded.issuer = Issuer()  # its valid key is the first one, so it rejects the next ones
        issuer.number = 3
        with pytest.raises(AuthenticationError, match="returned no other key") as caught:
            await client.chat("x")
    assert (caught.value.attempts, caught.value.status) == (2, 401)
    assert guarded.sent == [token(1), token(1), token(2), token(2), token(3)]


async def test_the_same_key_is_not_sent_again() -> None:
    issuer = Issuer()
    guarded = Guarded()
    async with guarded.client(issuer) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.chat("x")
    assert (guarded.sent, issuer.calls, caught.value.attempts) == ([token(1)], 2, 1)


async def test_other_statuses_fetch_no_key() -> None:
    issuer = Issuer()
    fake = FakeEndpoint(403, 429, 500)
    async with fake.client(api_key=issuer, base_url=URL) as client:
        for _ in range(3):
            with pytest.raises(CallError):
                await client.chat("x")
    assert issuer.calls == 1


async def test_each_endpoint_has_its_own_key() -> None:
    first, second = Issuer(), Issuer()
    second.number = 7
    guarded = Guarded(first)
    endpoints = [Endpoint(URL, first, models=["a"]), Endpoint("https://two.example", second, models=["b"])]
    async with guarded.client(None, base_url=None, endpoints=endpoints) as client:
        await client.chat("x", model="a")
        guarded.issuer = second
        await client.chat("x", model="b")
    assert guarded.sent == [token(1), token(7)]
    assert (first.calls, second.calls) == (1, 1)


async def test_each_client_fetches_its_own_key() -> None:
    issuer = Issuer()
    endpoint = Endpoint(URL, issuer)
    guarded = Guarded(issuer)
    for _ in range(2):
        async with guarded.client(None, base_url=None, endpoints=[endpoint]) as client:
            await chat(client)
    assert issuer.calls == 2


# Concurrent calls.


async def test_concurrent_calls_fetch_the_key_once() -> None:
    issuer = Issuer(delay=0.01)
    guarded = Guarded(issuer)
    async with guarded.client(issuer) as client:
        async with client.map(["x"] * 50) as outcomes:
            assert [outcome.ok async for outcome in outcomes] == [True] * 50
        assert issuer.calls == 1
        issuer.number, guarded.delay = 2, 0.001
        guarded.sent.clear()
        async with client.map(["x"] * 50) as outcomes:
            assert [outcome.ok async for outcome in outcomes] == [True] * 50
    assert issuer.calls == 2
    assert (guarded.sent.count(token(1)), guarded.sent.count(token(2))) == (50, 50)


async def test_a_late_rejection_of_an_old_key_fetches_no_key() -> None:
    issuer = Issuer()
    guarded = Guarded(issuer)
    async with guarded.client(issuer) as client, anyio.create_task_group() as group:
        await chat(client)
        issuer.number, guarded.delay = 2, 0.05
        group.start_soon(chat, client)
        await anyio.wait_all_tasks_blocked()  # the request is on its way with the old key
        guarded.delay = 0.0
        await chat(client)
        assert issuer.calls == 2
    assert issuer.calls == 2
    assert guarded.sent.count(token(2)) == 2


async def test_if_the_fetching_task_is_cancelled_another_one_fetches() -> None:
    issuer = Issuer(delay=math.inf)
    guarded = Guarded(issuer)
    replies: list[str] = []

    async def ask(client: Client) -> None:
        replies.append(await chat(client))

    async with guarded.client(issuer) as client:
        async with anyio.create_task_group() as others, anyio.create_task_group() as first:
            first.start_soon(ask, client)
            await anyio.wait_all_tasks_blocked()
            for _ in range(5):
                others.start_soon(ask, client)
            await anyio.wait_all_tasks_blocked()
            assert issuer.calls == 1
            issuer.delay = 0.0
            first.cancel_scope.cancel()
        assert (replies, issuer.calls) == (["ok"] * 5, 2)


async def test_a_waiting_task_may_be_cancelled() -> None:
    issuer = Issuer(delay=0.02)
    guarded = Guarded(issuer)
    async with guarded.client(issuer) as client, anyio.create_task_group() as group:
        group.start_soon(chat, client)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0) as scope:
            await chat(client)
        assert scope.cancelled_caught
    assert (issuer.calls, guarded.sent) == (1, [token(1)])


async def test_a_call_that_waits_for_its_key_holds_no_token() -> None:
    slow = Issuer(delay=math.inf)
    guarded = Guarded()
    guarded.issuer = quick = Issuer()
    endpoints = [Endpoint(URL, slow, models=["a"]), Endpoint("https://two.example", quick, models=["b"])]
    client = guarded.client(None, base_url=None, endpoints=endpoints, max_in_flight=1)
    async with client, anyio.create_task_group() as group:
        group.start_soon(functools.partial(client.chat, "x", model="a"))
        await anyio.wait_all_tasks_blocked()
        assert (slow.calls, client.in_flight) == (1, 0)
        assert (await client.chat("x", model="b")).attempts == 1
        group.cancel_scope.cancel()
    assert client.in_flight == 0


# Failures.


async def test_an_error_of_the_provider_is_raised_by_all_waiting_calls_and_the_next_call_retries() -> None:
    issuer = Issuer(delay=0.001)
    issuer.failure = cause = RuntimeError("client_secret=hunter2hunter2")
    guarded = Guarded(issuer)
    async with guarded.client(issuer) as client:
        async with client.map(["x"] * 9) as outcomes:
            errors = [outcome.error async for outcome in outcomes]
        assert issuer.calls == 1
        assert len({id(error) for error in errors}) == 9
        for error in errors:
            assert isinstance(error, CredentialError)
            assert error.__cause__ is cause
            assert str(error) == (
                "no key: Issuer, passed as api_key=, raised RuntimeError (see __cause__), so nothing was sent"
            )
            assert isinstance(error.request, Request)
            assert error.attempts == 0
        issuer.failure = None
        assert await chat(client) == "ok"
        issuer.number, issuer.failure = 2, RuntimeError("x")
        with pytest.raises(CredentialError, match=r"replaces the rejected one \(401\)") as caught:
            await client.chat("x")
    assert caught.value.attempts == 1


def test_an_error_of_the_provider_is_a_shared_error() -> None:
    shared = shared_error(CredentialError("x"))
    assert shared is not None
    assert shared.scope is ErrorScope.ACCOUNT


@pytest.mark.parametrize("key", [None, 5, b"tok", "", "tok 1", "tok-1\n", "tök", Secret("")], ids=repr)
async def test_an_invalid_key_raises_and_is_not_shown(key: Any) -> None:
    async with Guarded().client(lambda: key) as client:
        with pytest.raises(CredentialError, match="returned a") as caught:
            await client.chat("x")
    assert "tok" not in str(caught.value)
    assert not [
        (frame.filename, name)
        for frame in traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
        if frame.filename != __file__ and isinstance(key, str)
        for name, value in (frame.locals or {}).items()
        if key and repr(key) in value
    ]


async def test_a_retry_fetches_the_key_again() -> None:
    issuer = Issuer()
    issuer.failure = OSError("no network")
    guarded = Guarded(issuer)

    retry = Retry(base=0.02, jitter="none")
    async with guarded.client(issuer, policies=[retry]) as client, anyio.create_task_group() as group:
        group.start_soon(chat, client)
        await anyio.wait_all_tasks_blocked()
        issuer.failure = None
    assert (issuer.calls, guarded.sent) == (2, [token(1)])


async def test_a_provider_that_hangs_ends_with_the_attempt() -> None:
    issuer = Issuer(delay=math.inf)
    async with Guarded().client(issuer, timeout=0.02) as client:
        async with client.map(["x"] * 3) as outcomes:
            errors = [outcome.error async for outcome in outcomes]
        assert all(
            isinstance(error, CallTimeout) and "returned no key within" in str(error) for error in errors
        )
        issuer.delay = 0.0
        with pytest.raises(AuthenticationError):
            await client.chat("x")


@pytest.mark.parametrize("kind", [5, str, ["sk"]])
def test_an_invalid_api_key_raises(kind: Any) -> None:
    with pytest.raises(SettingsError, match="api_key= must be"):
        Endpoint(URL, kind)
    with pytest.raises(SettingsError, match="api_key= must be"):
        Client(base_url=URL, api_key=kind)


# Secrets.


async def test_neither_the_old_nor_the_new_key_is_shown() -> None:
    issuer = Issuer()
    guarded = Guarded(issuer)
    async with guarded.client(issuer) as client:
        await chat(client)
        issuer.number, guarded.issuer = 2, None
        with pytest.raises(AuthenticationError, match=r"\*\*\* has expired") as caught:
            await client.chat("x")
        guarded.issuer = issuer
        guarded.fake.then(Answer(f"{token(1)} and {token(2)}"))
        reply = await client.chat("x")
        error = caught.value
        frames = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        texts = [repr(error), "".join(frames), repr(client), repr(client.endpoints), repr(client.settings)]
        for secret in (token(1)[:8], token(2)[:8]):
            assert all(secret not in each for each in texts)
            assert secret.encode() not in error.body
            assert secret.encode() not in pickle.dumps(error) + pickle.dumps(reply)
        assert pickle.loads(pickle.dumps(reply)).text == "*** and ***"


async def test_an_error_of_the_provider_is_not_repeated_in_the_message() -> None:
    issuer = Issuer()
    guarded = Guarded(issuer)
    async with guarded.client(issuer) as client:
        await chat(client)
        issuer.failure = ValueError(f"cannot renew {token(1)}")
        issuer.number = 2
        with pytest.raises(CredentialError, match="raised ValueError") as caught:
            await client.chat("x")
    error = caught.value
    assert error.__cause__ is None
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert token(1)[:8] not in repr(error) + "".join(frames)


def test_a_refreshable_key_is_not_pickled_or_shown() -> None:
    endpoint = Endpoint(URL, lambda: token(1))
    assert "api_key=Secret(…)" in repr(endpoint)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(endpoint)
    assert isinstance(endpoint.api_key, RefreshableKey)
    with pytest.raises(CredentialError, match="before its first request"):
        endpoint.api_key.reveal()


async def test_the_latest_keys_are_removed_from_text() -> None:
    keys = [token(number) for number in range(20)]
    key = RefreshableKey(functools.partial(next, iter(keys)))
    assert key.redactor().is_noop
    for version in range(20):
        assert await key.refresh(version)
    text = " ".join(keys)
    redacted = key.redactor().text(text)
    assert key.redactor().content(text.encode()) == redacted.encode()
    assert redacted == " ".join([*keys[:-MAX_KEYS], *["***"] * MAX_KEYS])
