"""The input of a map: every kind of source is closed when the map ends, however it ends."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from headrace import Client, HeadraceError, Outcome
from headrace.client.item_source import EXHAUSTED, ItemSource
from headrace.testing import FakeEndpoint

pytestmark = pytest.mark.anyio


class Source:
    """Yields a number of prompts, then ends or raises; records whether its code was ended."""

    def __init__(self, items: int, error: Exception | None = None) -> None:
        self.items = items
        self.error = error
        self.closed_in: list[bool] = []
        self.in_time = True

    def sync(self) -> Iterator[str]:
        try:
            for number in range(self.items):
                yield f"item {number}"
            if self.error is not None:
                raise self.error
        finally:
            self.closed_in.append(self.in_time)

    async def asynchronous(self) -> AsyncIterator[str]:
        try:
            for number in range(self.items):
                await anyio.lowlevel.checkpoint()
                yield f"item {number}"
            if self.error is not None:
                raise self.error
        finally:
            self.closed_in.append(self.in_time)

    def of(self, kind: str) -> Any:
        """This source as a generator, or as an iterable that makes one."""
        source = self

        class Sync:
            def __iter__(self) -> Iterator[str]:
                return source.sync()

        class Asynchronous:
            def __aiter__(self) -> AsyncIterator[str]:
                return source.asynchronous()

        made: dict[str, Callable[[], Any]] = {
            "generator": self.sync,
            "async generator": self.asynchronous,
            "iterable": Sync,
            "async iterable": Asynchronous,
        }
        return made[kind]()


KINDS = pytest.mark.parametrize("kind", ["generator", "async generator", "iterable", "async iterable"])
WAYS = pytest.mark.parametrize("stop_on", [None, "shared_errors"])


def failing(outcome: Outcome) -> None:
    raise ZeroDivisionError


async def played(source: Source, kind: str, way: str, client: Client, stop_on: Any) -> None:
    outcomes = client.map(source.of(kind), stop_on=stop_on, max_in_flight=2)
    if way == "each":
        await outcomes.each(lambda outcome: None)
    elif way == "each, left early":
        await outcomes.each(failing)
    else:
        async with outcomes:
            async for _ in outcomes:
                if way == "left early":
                    break
                if way == "block raises":
                    raise ZeroDivisionError


@KINDS
@WAYS
@pytest.mark.parametrize("way", ["to the end", "left early", "block raises", "each", "each, left early"])
async def test_a_source_is_closed_when_its_map_is_over(kind: str, way: str, stop_on: Any) -> None:
    source = Source(1000 if "early" in way or "raises" in way else 10)
    gc.disable()
    try:
        async with FakeEndpoint(otherwise="ok").client() as client:
            if "raises" in way or way == "each, left early":
                with pytest.raises(ZeroDivisionError):
                    await played(source, kind, way, client, stop_on)
            else:
                await played(source, kind, way, client, stop_on)
            source.in_time = False
    finally:
        gc.enable()
    assert source.closed_in == [True]


@KINDS
@WAYS
async def test_a_source_is_closed_when_its_map_is_cancelled(kind: str, stop_on: Any) -> None:
    source = Source(1000)
    async with FakeEndpoint(otherwise="ok").client() as client:
        with anyio.CancelScope() as scope:
            async with client.map(source.of(kind), stop_on=stop_on) as outcomes:
                async for _ in outcomes:
                    scope.cancel()
        source.in_time = False
    assert source.closed_in == [True]


@KINDS
@WAYS
async def test_the_error_of_a_source_is_raised_once(kind: str, stop_on: Any) -> None:
    source = Source(5, ValueError("line 6 is torn"))
    done: list[Outcome] = []
    async with FakeEndpoint(otherwise="ok").client() as client:
        with pytest.raises(ValueError, match="line 6 is torn"):
            await client.map(source.of(kind), stop_on=stop_on).each(done.append)
        source.in_time = False
    assert len(done) == 5
    assert source.closed_in == [True]


@KINDS
async def test_a_source_is_closed_when_its_map_stops_at_a_shared_error(kind: str) -> None:
    source = Source(1000)
    async with FakeEndpoint(otherwise=402).client(max_in_flight=1) as client:
        with pytest.raises(HeadraceError):
            await client.map(source.of(kind), stop_on="shared_errors").each(lambda outcome: None)
        source.in_time = False
    assert source.closed_in == [True]


async def test_a_file_is_not_closed(tmp_path: Any) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a\nb\nc\n")
    with path.open() as lines:
        async with FakeEndpoint(otherwise="ok").client() as client:
            await client.map(lines).each(lambda outcome: None)
        assert not lines.closed


async def test_a_memory_object_stream_is_not_closed() -> None:
    send, receive = anyio.create_memory_object_stream[str](5)
    async with send, receive, FakeEndpoint(otherwise="ok").client() as client:
        send.send_nowait("a")
        async with client.map(receive) as outcomes:
            assert (await anext(outcomes)).ok
        send.send_nowait("b")
        assert await receive.receive() == "b"


async def test_an_error_while_closing_a_source_is_raised() -> None:
    def broken() -> Iterator[str]:
        try:
            while True:
                yield "a"
        finally:
            raise OSError("the cursor is gone")

    async with FakeEndpoint(otherwise="ok").client() as client:
        with pytest.raises(OSError, match="the cursor is gone"):
            async with client.map(broken()) as outcomes:
                await anext(outcomes)


async def test_nothing_is_read_after_the_end() -> None:
    source = ItemSource(iter("ab"))
    assert [source.next_item() for _ in range(5)] == ["a", "b", *[EXHAUSTED] * 3]
    await source.aclose()
    await source.aclose()
