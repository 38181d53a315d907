"""headrace for scripts and notebooks without async: the same calls, which block until they are done.

An event loop in a thread of its own makes the calls, so this also works where another event loop runs, as in
a notebook. Ctrl-C and errors cancel the calls, and leaving a block ends the thread.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import ExitStack
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack, overload

from anyio.from_thread import BlockingPortal

import headrace.client
from headrace._support.event_loop_thread import call_in_loop, entered, event_loop_thread
from headrace._support.public_names import fixup_module_metadata
from headrace.bulk.result import Result
from headrace.bulk.run import run as bulk_run
from headrace.bulk.sources import RowsLike
from headrace.calls import Outcome, Timeout
from headrace.client.arguments import check_keywords
from headrace.client.blocking_streams import OutcomeIterator, Stream, outcomes_of, wait_for
from headrace.client.embeddings import Embeddings
from headrace.client.map import OutcomeStream
from headrace.endpoint import Endpoint
from headrace.errors import ClientStateError
from headrace.keys import KeyProvider, Secret
from headrace.limiter_tokens import Limiter
from headrace.policies import Observer, Policy
from headrace.replies import ParsedReply, Reply
from headrace.transports import Transport
from headrace.wire.parameters import CHAT_PARAMETERS, OWN_KEYWORDS, ChatOptions, ModelOptions
from headrace.wire.request_bodies import Message, RequestLike

__all__ = ["Client", "OutcomeIterator", "Stream", "chat", "map", "run"]

T = TypeVar("T")


class MapOptions(TypedDict, total=False):
    """The keywords of `headrace.Client.map`, without ``answer``."""

    max_in_flight: int | None
    ordered: bool
    buffer: int | None
    stop_on: Literal["shared_errors"] | None


class Client:
    """Calls endpoints like `headrace.Client`, from code without async; a context manager.

    Several threads may use one client at once. KeyboardInterrupt cancels the call that is waited for, and
    the end of the block cancels all others.

    The arguments and errors are those of `headrace.Client`.

    Example:
        ```python
        with headrace.blocking.Client(model="deepseek-v3.2", max_in_flight=500) as client:
            print(client.chat("Hello").text)
            for outcome in client.map(prompts):
                print(outcome.index, outcome.unwrap().text)
        ```
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | Secret | KeyProvider | None = None,
        endpoints: Sequence[Endpoint] | Mapping[str, Mapping[str, Any]] | None = None,
        model: str | None = None,
        max_in_flight: int | None = None,
        limiter: Limiter | None = None,
        timeout: float | Timeout | None = None,
        policies: Iterable[Policy] | None = None,
        transport: Transport | str | None = None,
        observers: Iterable[Observer] = (),
        **sections: Any,
    ) -> None:
        self._client = headrace.client.Client(
            base_url=base_url,
            api_key=api_key,
            endpoints=endpoints,
            model=model,
            max_in_flight=max_in_flight,
            limiter=limiter,
            timeout=timeout,
            policies=policies,
            transport=transport,
            observers=observers,
            **sections,
        )
        self._portal: BlockingPortal | None = None
        self._blocks = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as blocks:
            portal = blocks.enter_context(event_loop_thread())
            blocks.enter_context(entered(portal, self._client))
            self._blocks = blocks.pop_all()
        self._portal = portal
        return self

    def __exit__(self, *error: object) -> None:
        self._portal = None
        self._blocks.close()

    def __repr__(self) -> str:
        return f"<blocking {self._client!r}>"

    @overload
    def chat(
        self, messages: str | Iterable[Message], *, answer: None = None, **options: Unpack[ChatOptions]
    ) -> Reply: ...
    @overload
    def chat(
        self, messages: str | Iterable[Message], *, answer: type[T], **options: Unpack[ChatOptions]
    ) -> ParsedReply[T]: ...
    @overload
    def chat(
        self, messages: str | Iterable[Message], *, answer: object, **options: Unpack[ChatOptions]
    ) -> ParsedReply[Any]: ...
    def chat(
        self, messages: str | Iterable[Message], *, answer: Any = None, **options: Unpack[ChatOptions]
    ) -> Reply:
        """Get one chat completion; see `headrace.Client.chat`."""
        return self._call(functools.partial(self._client.chat, messages, answer=answer, **options))

    def embed(
        self,
        texts: Iterable[str],
        *,
        dimensions: int | None = None,
        batch_size: int | None = None,
        **options: Unpack[ModelOptions],
    ) -> Embeddings:
        """Embed any number of texts; see `headrace.Client.embed`."""
        return self._call(
            functools.partial(
                self._client.embed, texts, dimensions=dimensions, batch_size=batch_size, **options
            )
        )

    def stream(
        self,
        messages: str | Iterable[Message],
        *,
        stream_options: Mapping[str, Any] | None = None,
        **options: Unpack[ChatOptions],
    ) -> Stream:
        """Get one chat completion while it is generated; see `headrace.Client.stream`.

        Example:
            ```python
            with client.stream("Tell me a story") as stream:
                for chunk in stream:
                    print(chunk.text, end="")
            ```
        """
        make = functools.partial(self._client.stream, messages, stream_options=stream_options, **options)
        return Stream(self._open_portal, self._open_portal().call(make))

    @overload
    def map(
        self,
        requests: Iterable[RequestLike] | AsyncIterable[RequestLike],
        *,
        answer: None = None,
        **options: Unpack[MapOptions],
    ) -> OutcomeIterator[Reply]: ...
    @overload
    def map(
        self,
        requests: Iterable[RequestLike] | AsyncIterable[RequestLike],
        *,
        answer: type[T],
        **options: Unpack[MapOptions],
    ) -> OutcomeIterator[ParsedReply[T]]: ...
    @overload
    def map(
        self,
        requests: Iterable[RequestLike] | AsyncIterable[RequestLike],
        *,
        answer: object,
        **options: Unpack[MapOptions],
    ) -> OutcomeIterator[ParsedReply[Any]]: ...
    def map(
        self,
        requests: Iterable[RequestLike] | AsyncIterable[RequestLike],
        *,
        answer: Any = None,
        **options: Unpack[MapOptions],
    ) -> OutcomeIterator[Any]:
        """Make a call for each of ``requests``; see `headrace.Client.map`.

        The calls begin when the first outcome is asked for. ``requests`` is read in another thread, that of
        the event loop.

        Returns:
            An iterator of outcomes. Its remaining calls are cancelled when a loop over it ends early, and at
            the end of its ``with`` block if it has one.
        """
        make = functools.partial(self._client.map, requests, answer=answer, **options)
        stream: OutcomeStream[Any] = self._open_portal().call(make)
        one_by_one = options.get("buffer") is not None
        return OutcomeIterator(outcomes_of(self._open_portal, stream, one_by_one=one_by_one))

    def _call(self, function: Callable[[], Awaitable[T]]) -> T:
        return wait_for(self._open_portal(), function)

    def _open_portal(self) -> BlockingPortal:
        if self._portal is None:
            raise ClientStateError("this client is not open; use it inside its 'with' block")
        return self._portal


@overload
def chat(messages: str | Iterable[Message], *, answer: None = None, **settings: Any) -> Reply: ...
@overload
def chat(messages: str | Iterable[Message], *, answer: type[T], **settings: Any) -> ParsedReply[T]: ...
@overload
def chat(messages: str | Iterable[Message], *, answer: object, **settings: Any) -> ParsedReply[Any]: ...
def chat(messages: str | Iterable[Message], *, answer: Any = None, **settings: Any) -> Reply:
    """Get one chat completion, with a client of its own; for several calls use `Client` or `map`.

    Args:
        messages: A prompt, or a list of messages.
        answer: The type of the answer, as for `headrace.Client.chat`.
        **settings: Keywords of `headrace.Client.chat` and of `headrace.Client`.

    Raises:
        HeadraceError: As for `headrace.Client` and its ``chat``.

    Example:
        ```python
        print(headrace.blocking.chat("What is a rake?", model="deepseek-v3.2", temperature=0).text)
        ```
    """
    own, of_client = _split(settings, CHAT_PARAMETERS | OWN_KEYWORDS)
    with Client(**of_client) as client:
        reply: Reply = client.chat(messages, answer=answer, **own)
        return reply


@overload
def map(
    requests: Iterable[RequestLike] | AsyncIterable[RequestLike], *, answer: None = None, **settings: Any
) -> OutcomeIterator[Reply]: ...
@overload
def map(
    requests: Iterable[RequestLike] | AsyncIterable[RequestLike], *, answer: type[T], **settings: Any
) -> OutcomeIterator[ParsedReply[T]]: ...
@overload
def map(
    requests: Iterable[RequestLike] | AsyncIterable[RequestLike], *, answer: object, **settings: Any
) -> OutcomeIterator[ParsedReply[Any]]: ...
def map(
    requests: Iterable[RequestLike] | AsyncIterable[RequestLike], *, answer: Any = None, **settings: Any
) -> OutcomeIterator[Any]:
    """Make a call for each of ``requests``, with a client of its own, which is closed after the last outcome.

    Args:
        requests: As for `headrace.Client.map`.
        answer: The type of the answers, for requests that do not set one.
        **settings: Keywords of `headrace.Client.map` (``ordered``, ``buffer``, ``stop_on``) and of
            `headrace.Client`.

    Returns:
        An iterator of outcomes, as of `Client.map`.

    Raises:
        HeadraceError: As for `headrace.Client` and its ``map``.

    Example:
        ```python
        for outcome in headrace.blocking.map(prompts, model="deepseek-v3.2", ordered=True):
            print(outcome.reply.text if outcome.ok else outcome.error)
        ```
    """
    own, of_client = _split(settings, MapOptions.__optional_keys__ - {"max_in_flight"})
    client = Client(**of_client)

    def outcomes() -> Generator[Outcome[Any], None, None]:
        with client, client.map(requests, answer=answer, **own) as found:
            yield from found

    return OutcomeIterator(outcomes())


def run(rows: RowsLike, *, out: str | os.PathLike[str] | None = None, **settings: Any) -> Result:
    """Run a prompt over rows, as `headrace.run` does, with a client of its own.

    Args:
        rows: A file, a data frame, or an iterable of rows.
        out: The output file. Another call with the same arguments continues an interrupted run. None keeps
            the answers in memory.
        **settings: Keywords of `headrace.run` and of `headrace.Client`. A function for ``progress`` is called
            in the thread of the event loop.

    Returns:
        The totals of the run, and its answers.

    Raises:
        HeadraceError: As for `headrace.Client` and `headrace.run`.

    Example:
        ```python
        result = headrace.blocking.run(frame, prompt="Category of {name}?", model="deepseek-v3.2")
        answers = result.to_pandas()
        ```
    """
    own, of_client = _split(settings, inspect.signature(bulk_run).parameters.keys() - {"client"})
    make_client = functools.partial(headrace.client.Client, **of_client)
    with event_loop_thread() as portal:
        return call_in_loop(portal, bulk_run(make_client, rows, out=out, **own).perform)


def _split(settings: Mapping[str, Any], own: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of a function, and those of its client; raises `SettingsError` for an unknown one."""
    of_client = {name: value for name, value in settings.items() if name not in own}
    check_keywords(of_client, {*own, *(headrace.client.Client.__init__.__kwdefaults__ or ())})
    return {name: value for name, value in settings.items() if name in own}, of_client


fixup_module_metadata(__all__, globals())
