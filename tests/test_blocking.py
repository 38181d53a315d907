"""Calls from code without async: results, errors, interrupts, and what is left afterwards."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest

import headrace
from headrace import (
    Call,
    ClientStateError,
    PluginError,
    PolicyError,
    Reply,
    RequestError,
    SettingsError,
    StatusError,
    blocking,
)
from headrace.policies import TaskGroupFactory
from headrace.testing import Answer, FakeEndpoint
from headrace.transports.memory import MemoryTransport

MAIN = threading.main_thread()


def settings(endpoint: FakeEndpoint, **more: Any) -> dict[str, Any]:
    transport = MemoryTransport(endpoint.handle)
    return {"base_url": "http://fake.test/v1", "model": "m", "transport": transport, "policies": [], **more}


def client_of(endpoint: FakeEndpoint, **more: Any) -> blocking.Client:
    return blocking.Client(**settings(endpoint, **more))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert {thread for thread in threading.enumerate() if "headrace" in thread.name} <= before


class Hanging(FakeEndpoint):
    """An endpoint that answers the first calls, and no later one until these are cancelled.

    When a call hangs, ``on_hang`` is called in the thread of the event loop.
    """

    def __init__(self, answers: int = 0, on_hang: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.answers = answers
        self.on_hang = on_hang
        self.cancelled = 0

    async def handle(self, call: Call) -> Reply:
        if len(self.attempts) < self.answers:
            return await super().handle(call)
        self.attempts.append(call.request)
        self.in_flight += 1
        try:
            self.on_hang()
            await anyio.sleep_forever()
            raise AssertionError
        finally:
            self.in_flight -= 1
            self.cancelled += 1


class Mistake(Exception):
    """An error of the consumer."""


def fail_at_the_first(items: Iterable[object]) -> None:
    for _ in items:
        raise Mistake


def interrupt() -> None:
    """Press Ctrl-C: the main thread gets the signal."""
    assert MAIN.ident is not None
    signal.pthread_kill(MAIN.ident, signal.SIGINT)


# Results.


def test_calls_give_what_the_async_client_gives() -> None:
    endpoint = FakeEndpoint("one", "two", "three", Answer('"yes"'))
    with client_of(endpoint) as client:
        assert client.chat("Hello", temperature=0).text == "one"
        with client.stream([{"role": "user", "content": "Hello"}]) as stream:
            assert [chunk.text for chunk in stream] == ["two"]
            with pytest.raises(StopIteration):
                next(stream)
        assert stream.reply.text == stream.partial.text == "three"[:0] + "two"
        assert [outcome.unwrap().text for outcome in client.map(["Hello"])] == ["three"]
        assert client.chat("Sure?", answer=Literal["yes", "no"]).answer == "yes"
        assert repr(client) == "<blocking <Client http://fake.test/v1 open, 0 of 100 in flight>>"
    first = endpoint.attempts[0].body
    assert first == {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "model": "m"}


def test_texts_are_embedded() -> None:
    endpoint = FakeEndpoint()
    with client_of(endpoint) as client:
        embeddings = client.embed(["a", "b", "c"], batch_size=2)
    assert len(embeddings.vectors) == 3
    assert len(endpoint.attempts) == 2


@pytest.mark.parametrize("options", [{}, {"ordered": True}, {"buffer": 0}, {"buffer": 3, "max_in_flight": 2}])
def test_a_map_yields_each_outcome_once(options: Any) -> None:
    items: list[Any] = [*map(str, range(50)), 5]
    with client_of(FakeEndpoint(), max_in_flight=7) as client:
        outcomes = list(client.map(items, **options))
    assert sorted(outcome.index for outcome in outcomes) == list(range(51))
    assert [outcome.item for outcome in outcomes if not outcome.ok] == [5]
    if options.get("ordered"):
        assert [outcome.item for outcome in outcomes] == items


@pytest.mark.parametrize(("buffer", "most"), [(None, 4 * 5), (0, 5 + 1)])
def test_a_map_reads_its_input_as_it_is_needed(buffer: int | None, most: int) -> None:
    read = 0

    def prompts() -> Iterator[str]:
        nonlocal read
        for number in range(1_000):
            read += 1
            yield str(number)

    with client_of(FakeEndpoint(), max_in_flight=5) as client:
        assert read == 0
        with client.map(prompts(), buffer=buffer) as outcomes:
            for count, _ in enumerate(outcomes, 1):
                assert read <= count + most
                if count == 100:
                    break
    assert read <= 100 + most


def test_functions_open_a_client_for_themselves() -> None:
    endpoint = FakeEndpoint("one", "two", "three")
    keywords = settings(endpoint, max_in_flight=1)
    assert blocking.chat("Hello", timeout=5, tags={"a": "b"}, **keywords).text == "one"
    found = blocking.map(["a", "b"], ordered=True, buffer=1, **keywords)
    assert [outcome.unwrap().text for outcome in found] == ["two", "three"]
    assert (endpoint.attempts[0].timeout, endpoint.attempts[0].tags) == (5, {"a": "b"})


def test_a_bulk_run_is_made_and_continued(tmp_path: Path) -> None:
    items, out = tmp_path / "items.csv", tmp_path / "out.jsonl"
    items.write_text("id,name\n1,hose\n2,rake\n3,spade\n")
    endpoint = FakeEndpoint()
    first = blocking.run(items, out=out, prompt="Sort {name}", limit=2, **settings(endpoint))
    second = blocking.run(items, out=out, prompt="Sort {name}", max_in_flight=1, **settings(endpoint))
    assert (first.succeeded, second.succeeded, second.done_before) == (2, 1, 2)
    assert len(out.read_text().splitlines()) == len(endpoint.attempts) == 3


@pytest.mark.anyio
async def test_it_works_where_an_event_loop_runs() -> None:
    endpoint = FakeEndpoint()
    with client_of(endpoint) as client:
        assert client.chat("Hello").text == "ok"
        assert [outcome.ok for outcome in client.map(["a", "b"])] == [True, True]
    assert blocking.chat("Hello", **settings(endpoint)).text == "ok"


def test_threads_share_a_client() -> None:
    texts: list[str] = []
    with client_of(FakeEndpoint()) as client:
        threads = [
            threading.Thread(target=lambda: texts.extend(client.chat("Hello").text for _ in range(5)))
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == ["ok"] * 25


# Errors.


def test_an_error_of_a_call_is_raised_as_itself_with_the_callers_line() -> None:
    with client_of(FakeEndpoint(otherwise=400)) as client:
        with pytest.raises(StatusError, match="injected 400") as caught:
            client.chat("Hello")
        text = "".join(traceback.format_exception(caught.value))
        assert 'client.chat("Hello")' in text
        assert "status_error(call, reply)" in text
        with pytest.raises(StatusError), client.stream("Hello"):
            raise AssertionError
        with pytest.raises(StatusError):
            client.embed(["Hello"])
        assert [type(outcome.error) for outcome in client.map(["Hello"])] == [StatusError]


def test_wrong_arguments_are_refused_at_the_call() -> None:
    with client_of(FakeEndpoint()) as client:
        with pytest.raises(RequestError, match="did you mean 'temperature'"):
            client.chat("Hello", temprature=0)  # type: ignore[call-overload]
        with pytest.raises(RequestError, match="did you mean 'temperature'"):
            client.stream("Hello", temprature=0)  # type: ignore[call-arg]
        with pytest.raises(SettingsError, match="max_in_flight=0: must be at least 1"):
            client.map([], max_in_flight=0)
        with pytest.raises(RequestError, match="map takes an iterable of requests, not a str"):
            client.map("Hello")


@pytest.mark.parametrize(
    ("call", "wrong", "right"),
    [
        (lambda **more: blocking.chat("Hello", **more), "temprature", "temperature"),
        (lambda **more: blocking.chat("Hello", **more), "max_in_fligth", "max_in_flight"),
        (lambda **more: blocking.map(["Hello"], **more), "orderd", "ordered"),
        (lambda **more: blocking.map(["Hello"], **more), "base_ulr", "base_url"),
        (lambda **more: blocking.run("in.csv", out="out", **more), "promt", "prompt"),
        (lambda **more: blocking.run("in.csv", out="out", **more), "modle", "model"),
        (lambda **more: blocking.Client(**more), "modle", "model"),
    ],
)
def test_a_misspelt_keyword_is_explained(call: Callable[..., Any], wrong: str, right: str) -> None:
    with pytest.raises(SettingsError, match=f"no keyword '{wrong}'; did you mean '{right}'"):
        call(**{wrong: 5})


@pytest.mark.parametrize("was_open", [False, True])
def test_a_client_is_used_only_inside_its_block(was_open: bool) -> None:
    client = client_of(FakeEndpoint())
    if was_open:
        with client:
            client.chat("Hello")
    uses: list[Callable[[Any], object]] = [client.chat, client.stream, client.embed, client.map]
    for use in uses:
        with pytest.raises(ClientStateError, match=r"^this client is not open; use it inside its 'with'"):
            use(["Hello"])
    if was_open:
        with pytest.raises(ClientStateError, match="opened before"), client:
            raise AssertionError


def test_an_error_while_a_client_opens_leaves_nothing() -> None:
    class Broken:
        name, stage = "broken", headrace.Stage.PACE

        def wrap(self, send: headrace.Send) -> headrace.Send:
            return send

        @asynccontextmanager
        async def lifespan(self, group: object) -> AsyncIterator[None]:
            raise ValueError("no")
            yield

    with pytest.raises(PluginError, match="its lifespan raised ValueError: no"):
        client_of(FakeEndpoint(), policies=[Broken()]).__enter__()


def test_an_error_of_a_background_task_is_raised_by_the_block() -> None:
    failing = threading.Event()

    class Lost:
        name, stage = "lost", headrace.Stage.PACE

        def wrap(self, send: headrace.Send) -> headrace.Send:
            return send

        @asynccontextmanager
        async def lifespan(self, group: TaskGroupFactory) -> AsyncIterator[None]:
            (await group()).start_soon(self._work)
            yield

        async def _work(self) -> None:
            failing.set()
            raise ValueError("lost its server")

    with pytest.raises(PolicyError, match="lost its server"), client_of(FakeEndpoint(), policies=[Lost()]):
        assert failing.wait(10)


def test_a_call_is_told_that_another_thread_has_closed_the_client() -> None:
    errors: list[Exception] = []
    hangs = threading.Event()
    with client_of(Hanging(on_hang=hangs.set)) as client:

        def chat() -> None:
            try:
                client.chat("Hello")
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=chat)
        thread.start()
        assert hangs.wait(10)
    thread.join(10)
    assert [str(error) for error in errors] == ["this client was closed during the call"]


# What ends early.


def test_an_error_of_the_consumer_cancels_the_remaining_calls() -> None:
    endpoint = Hanging(answers=1)
    with client_of(endpoint, max_in_flight=4) as client:
        with pytest.raises(Mistake):
            fail_at_the_first(client.map(str(number) for number in range(100)))
        assert (endpoint.in_flight, client._client.in_flight) == (0, 0)
        endpoint.answers = 100
        assert client.chat("Hello").text == "ok"


@pytest.mark.parametrize("leave", ["break", "close", "with", "client"])
def test_leaving_a_map_cancels_the_remaining_calls(leave: str) -> None:
    endpoint = Hanging(answers=1)
    with client_of(endpoint, max_in_flight=4) as client:
        outcomes = client.map(str(number) for number in range(100))
        if leave == "break":
            del outcomes
            for _ in client.map(str(number) for number in range(100)):
                break
        elif leave == "with":
            with outcomes:
                next(outcomes)
        else:
            next(outcomes)
            if leave == "close":
                outcomes.close()
        if leave != "client":
            assert endpoint.in_flight == 0
    assert endpoint.in_flight == 0
    assert endpoint.cancelled >= 3
    if leave == "client":
        with pytest.raises(ClientStateError, match="this client is not open"):
            next(outcomes)


def test_leaving_a_map_with_its_own_client_closes_the_client() -> None:
    endpoint = Hanging(answers=1)
    for _ in blocking.map(["a", "b"], **settings(endpoint, max_in_flight=1)):
        break
    assert endpoint.in_flight == 0
    with blocking.map(["a", "b"], **settings(endpoint)) as never_begun:
        assert iter(never_begun) is never_begun
    assert [thread.name for thread in threading.enumerate() if "headrace" in thread.name] == []


def test_leaving_a_stream_early_cancels_it() -> None:
    endpoint = FakeEndpoint("many words in this answer")
    with client_of(endpoint) as client:
        with pytest.raises(Mistake), client.stream("Hello") as stream:
            fail_at_the_first(stream)
        with pytest.raises(ClientStateError, match="not read to its end"):
            _ = stream.reply
        with pytest.raises(ClientStateError, match="enter"):
            next(client.stream("Hello"))


def use_chat(client: blocking.Client) -> None:
    client.chat("Hello")


def use_embed(client: blocking.Client) -> None:
    client.embed(["Hello"])


def use_stream(client: blocking.Client) -> None:
    with client.stream("Hello") as stream:
        next(stream)


def use_map(client: blocking.Client) -> None:
    for _ in client.map(["Hello"] * 9):
        pass


@pytest.mark.parametrize("use", [use_chat, use_embed, use_stream, use_map])
def test_ctrl_c_cancels_the_calls_and_the_client_can_be_used_again(
    use: Callable[[blocking.Client], None],
) -> None:
    endpoint = Hanging(on_hang=interrupt)
    with client_of(endpoint, max_in_flight=1) as client:
        with pytest.raises(KeyboardInterrupt):
            use(client)
        endpoint.answers = 1_000
        assert client.chat("Hello").text == "ok"
        assert endpoint.in_flight == 0
    assert endpoint.cancelled == 1


def test_ctrl_c_in_the_consumer_ends_the_block() -> None:
    endpoint = Hanging(answers=1)

    def consume(outcomes: Iterable[object]) -> None:
        for _ in outcomes:
            interrupt()
            threading.Event().wait(10)

    with pytest.raises(KeyboardInterrupt), client_of(endpoint) as client:
        consume(client.map(str(number) for number in range(9)))
    assert endpoint.in_flight == 0


def test_ctrl_c_ends_functions(tmp_path: Path) -> None:
    items = tmp_path / "items.csv"
    items.write_text("id\n1\n2\n")
    uses: list[Callable[..., Any]] = [
        lambda **keywords: blocking.chat("Hello", **keywords),
        lambda **keywords: list(blocking.map(["Hello"], **keywords)),
        lambda **keywords: blocking.run(items, out=tmp_path / "out.jsonl", prompt="{id}", **keywords),
    ]
    for use in uses:
        endpoint = Hanging(on_hang=interrupt)
        with pytest.raises(KeyboardInterrupt):
            use(**settings(endpoint, max_in_flight=1))
        assert (endpoint.in_flight, endpoint.cancelled) == (0, 1)
    assert (
        blocking.run(items, out=tmp_path / "out.jsonl", prompt="{id}", **settings(FakeEndpoint())).succeeded
        == 2
    )
