"""The methods of a client that call the API: chat, stream, responses, embed, models, request, send."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, Unpack, overload

from anyio.lowlevel import checkpoint

from headrace.calls import Call, Request
from headrace.client.embeddings import Embeddings, embed, embeddings_body, in_batches
from headrace.client.stream import Stream
from headrace.endpoint import EMPTY
from headrace.errors import HeadraceError, RequestError
from headrace.limiter_tokens import Limiter
from headrace.replies import ParsedReply, Reply
from headrace.settings import CoreSettings
from headrace.wire.models_list import parse_model_ids
from headrace.wire.parameters import (
    OWN_KEYWORDS,
    CallOptions,
    ChatOptions,
    ModelOptions,
    ResponseOptions,
    check_keywords,
    header_pairs,
    pop_call_options,
)
from headrace.wire.request_bodies import Message, as_request, chat_body, response_body

T = TypeVar("T")


class ApiMethods(ABC):
    """The API methods of a `Client`. They build requests; the client runs them."""

    _settings: CoreSettings
    _now: Callable[[], float]

    @abstractmethod
    def _check_usable(self) -> None:
        """Raise `ClientStateError` unless the client is open in this event loop."""

    @property
    @abstractmethod
    def limiter(self) -> Limiter:
        """Gives each attempt its token."""

    @abstractmethod
    async def _send_request(self, request: Request, until: float | None = None) -> Reply:
        """Run a request, with the default model; ``until`` replaces its deadline."""

    @abstractmethod
    def _begin_stream(self, request: Request) -> AbstractAsyncContextManager[tuple[Call, Reply]]:
        """Run a request as a stream; the block gets the call, and the reply with its first chunk."""

    async def send(self, request: Request) -> Reply:
        """Send one request, as `map` does for many.

        Args:
            request: The request; the client's model is used if its body names none.

        Returns:
            The reply; a `ParsedReply` if the request has an ``answer``.

        Raises:
            HeadraceError: As for `chat`.
        """
        if not isinstance(request, Request):
            await checkpoint()
            raise RequestError(
                f"send takes a headrace.Request, not {type(request).__name__}; client.chat takes messages"
            )
        return await self._send_request(request)

    @overload
    async def chat(
        self, messages: str | Iterable[Message], *, answer: None = None, **options: Unpack[ChatOptions]
    ) -> Reply: ...
    @overload
    async def chat(
        self, messages: str | Iterable[Message], *, answer: type[T], **options: Unpack[ChatOptions]
    ) -> ParsedReply[T]: ...
    @overload
    async def chat(
        self, messages: str | Iterable[Message], *, answer: object, **options: Unpack[ChatOptions]
    ) -> ParsedReply[Any]: ...
    async def chat(
        self, messages: str | Iterable[Message], *, answer: Any = None, **options: Unpack[ChatOptions]
    ) -> Reply:
        """Get one chat completion (``POST /chat/completions``).

        Args:
            messages: A prompt, or a list of messages.
            answer: The type of the answer: a dataclass, an attrs class, a msgspec Struct, a pydantic model, a
                Literal, an Enum or a list of these, or a JSON schema as a mapping. It is sent as
                ``response_format``, or as a message if the endpoint rejects that. ``reply.answer`` is an
                instance of it.
            **options: ``model`` (default: the client's); ``timeout`` in seconds per attempt, or a `Timeout`;
                ``deadline`` in seconds for the whole call; ``headers``, a mapping that adds to the endpoint's
                headers or replaces them; ``id``, ``tags`` and ``priority``, see `Request`; ``extra_body``, a
                mapping of parameters that only your endpoint supports. All other options are parameters of
                the API (``temperature``, ``max_tokens``, …); ``tools`` may also be `Tools`.

        Returns:
            The reply; a `ParsedReply` with ``answer=``.

        Raises:
            RequestError: The request is not valid; nothing was sent.
            AnswerError: The answer does not fit ``answer=``; ``error.partial`` is the reply.
            CallError: The call failed.

        Example:
            ```python
            reply = await client.chat("Is a tomato a fruit?", answer=Literal["yes", "no"], temperature=0)
            print(reply.answer, reply.usage.total_tokens)
            ```
        """
        try:
            request = self._chat_request(messages, options, answer)
        except HeadraceError:
            await checkpoint()
            raise
        return await self._send_request(request)

    async def responses(
        self,
        input: str | Iterable[Message],
        *,
        instructions: str | None = None,
        **options: Unpack[ResponseOptions],
    ) -> Reply:
        """Get one response (``POST /responses``).

        Args:
            input: A prompt, or a list of input items.
            instructions: The system message.
            **options: As for `chat`, with the parameters of the Responses API (``max_output_tokens``,
                ``reasoning``, ``tools``, …).

        Returns:
            The reply: ``reply.text`` is the text of all messages, ``reply.body["output"]`` has all items.

        Raises:
            HeadraceError: As for `chat`.
        """
        try:
            parameters: Any = options
            call_options = pop_call_options(parameters)
            body = response_body(input, instructions, parameters, OWN_KEYWORDS)
            request = self._request(self._with_call_options(body, call_options), call_options, "/responses")
        except HeadraceError:
            await checkpoint()
            raise
        return await self._send_request(request)

    async def embed(
        self,
        texts: Iterable[str],
        *,
        dimensions: int | None = None,
        batch_size: int | None = None,
        **options: Unpack[ModelOptions],
    ) -> Embeddings:
        """Embed any number of texts (``POST /embeddings``).

        The texts are sent in batches of at most ``batch_size`` texts and 300,000 bytes, and all batches at
        the same time, within ``max_in_flight``. Without texts, nothing is sent.

        Args:
            texts: A list or another iterable of strings.
            dimensions: The length of the vectors (default: that of the model).
            batch_size: Maximum number of texts per request (default 2048, OpenAI's maximum).
            **options: As for `chat`, the same for each batch; ``deadline`` is in seconds for all batches.

        Returns:
            One vector for each text, in the order of the texts.

        Raises:
            RequestError: ``texts`` is one string, or a text is empty or not a string; nothing was sent.
            InvalidReply: A reply does not have one vector for each text.
            CallError: A batch failed; the remaining batches are cancelled.

        Example:
            ```python
            embeddings = await client.embed(["river", "mill"], model="bge-m3")
            matrix = numpy.array(embeddings.vectors)
            ```
        """
        try:
            self._check_usable()
            check_keywords("embed", options, OWN_KEYWORDS)
            body = self._with_call_options(embeddings_body(dimensions), options)
            request = as_request(self._request(body, options, "/embeddings"), self._settings.model)
            batches = in_batches(texts, batch_size)
        except HeadraceError:
            await checkpoint()
            raise
        until = None if request.deadline is None else self._now() + request.deadline
        send = functools.partial(self._send_request, until=until)
        return await embed(send, request, batches, self.limiter.total_tokens)

    async def models(self, **options: Unpack[CallOptions]) -> list[str]:
        """List the models of the endpoint (``GET /models``).

        Args:
            **options: As for `request`.

        Returns:
            The ids of the models, in the order of the endpoint.

        Raises:
            InvalidReply: The reply is not a list of models.
            CallError: The call failed.
        """
        return parse_model_ids(await self.request("GET", "/models", **options))

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> Reply:
        """Call any other path of the endpoint, with the same policies.

        Args:
            method: The HTTP method.
            path: Appended to the base URL.
            body: Sent as JSON; the client's model is used if it names none.
            **options: ``id``, ``timeout``, ``deadline``, ``tags``, ``headers`` and ``priority``, as for
                `chat`.

        Raises:
            HeadraceError: As for `chat`.

        Example:
            ```python
            reply = await client.request("POST", "/rerank", {"query": query, "documents": documents})
            ```
        """
        try:
            check_keywords("request", options)
            request = self._request(body, options, path, method.upper())
        except HeadraceError:
            await checkpoint()
            raise
        return await self._send_request(request)

    def stream(
        self,
        messages: str | Iterable[Message],
        *,
        stream_options: Mapping[str, Any] | None = None,
        **options: Unpack[ChatOptions],
    ) -> Stream:
        """Get one chat completion while it is generated.

        Leaving the block early drops the rest of the answer. A stream counts as in flight until its block
        ends.

        Args:
            messages: As for `chat`.
            stream_options: Those of the API; token counts are requested unless
                ``{"include_usage": False}`` is passed.
            **options: As for `chat`. ``timeout`` limits the wait for the first chunk (``total``) and between
                chunks (``stall``, default 60 s), ``deadline`` the whole stream.

        Returns:
            The stream; enter it with ``async with``.

        Raises:
            HeadraceError: As for `chat`. Until the first chunk, policies may retry, and errors are raised
                when the block is entered. Later errors are raised by the iteration; nothing is sent again,
                and ``error.partial`` is the reply so far.

        Example:
            ```python
            async with client.stream("Tell me a story") as stream:
                async for chunk in stream:
                    print(chunk.text, end="")
            print(stream.reply.usage)
            ```
        """
        return Stream(self._begin_stream(self._chat_request(messages, options, None, stream_options)))

    def _chat_request(
        self,
        messages: str | Iterable[Message],
        options: Any,
        answer: Any,
        stream_options: Mapping[str, Any] | None = None,
    ) -> Request:
        call_options = pop_call_options(options)
        body = chat_body(messages, options, OWN_KEYWORDS)
        if stream_options is not None:
            body["stream_options"] = stream_options
        return self._request(self._with_call_options(body, call_options), call_options, answer=answer)

    def _with_call_options(self, body: dict[str, Any], call_options: Mapping[str, Any]) -> dict[str, Any]:
        """Add ``extra_body`` and the model to a body."""
        extra = call_options.get("extra_body")
        if extra is not None:
            if not isinstance(extra, Mapping):
                raise RequestError(f"extra_body must be a mapping, not {type(extra).__name__}")
            body.update(extra)
        # The model is added here, because changing a finished request takes twice as long.
        model = call_options.get("model")
        if model is None and body.get("model") is None:
            model = self._settings.model
        if model is not None:
            body["model"] = model
        return body

    @staticmethod
    def _request(
        body: Mapping[str, Any] | None,
        call_options: Mapping[str, Any],
        path: str = "/chat/completions",
        method: str = "POST",
        answer: Any = None,
    ) -> Request:
        """A request with the options that all calls have."""
        headers = call_options.get("headers")
        return Request(
            body,
            path,
            method,
            call_options.get("id"),
            call_options.get("timeout"),
            call_options.get("deadline"),
            call_options.get("tags") or EMPTY,
            () if headers is None else header_pairs(headers),
            answer,
            call_options.get("priority", 0),
        )
