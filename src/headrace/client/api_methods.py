"""The API's own calls: chat, stream, responses, embed, models, and anything else that an endpoint has."""

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
from headrace.replies import ParsedReply, Reply
from headrace.settings import CoreSettings
from headrace.tokens import Limiter
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
    """What a `Client` has besides `map`: each makes requests, and leaves it to the client to perform them."""

    _settings: CoreSettings
    _now: Callable[[], float]

    @abstractmethod
    def _check_usable(self) -> None:
        """Raise `ClientStateError` unless the client is open, and in this event loop."""

    @property
    @abstractmethod
    def limiter(self) -> Limiter:
        """What gives each attempt its token."""

    @abstractmethod
    async def _send_request(self, request: Request, until: float | None = None) -> Reply:
        """Perform a request, its model filled in, within its own deadline or by a time that several share."""

    @abstractmethod
    def _begin_stream(self, request: Request) -> AbstractAsyncContextManager[tuple[Call, Reply]]:
        """Perform a request as a stream: the call, and its reply with the first piece."""

    async def send(self, request: Request) -> Reply:
        """Perform one request.

        What `map` does for many: the model is filled in where the body names none, and the reply to a request
        with an ``answer`` is an `ParsedReply`. Raises as `chat` does.
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
        """Ask for one chat completion.

        Args:
            messages: A prompt, or a list of messages.
            answer: A type: a dataclass, an attrs class, a msgspec Struct, a pydantic model, a Literal, an
                Enum or a list of these; or a JSON schema as a mapping. It is sent as ``response_format``, or
                in a message to an endpoint that refuses that, and ``reply.answer`` is an instance of it.
            **options: ``model``, by default the client's; ``timeout`` in seconds per attempt, or a `Timeout`;
                ``deadline`` in seconds for all of it; ``headers``, a mapping, sent besides the endpoint's or
                in place of those of the same name; ``id``, ``tags`` and ``priority``, see `Request`;
                ``extra_body``, what only your endpoint knows. All others are the API's own parameters
                (``temperature``, ``max_tokens``, ``tools``: as it has them or as `Tools`, …).

        Raises:
            RequestError: Before anything is sent.
            CallError: The call failed; of these `AnswerError` where the answer is no ``answer``, and
                ``error.partial`` is the reply as it came.
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
        """Ask for one response (``POST /responses``), whole.

        ``reply.text`` is the text of all its messages, ``reply.body["output"]`` all its items.

        Args:
            input: A prompt, or a list of input items.
            instructions: What stands above it.
            **options: As with `chat`; the API's own parameters are those of responses
                (``max_output_tokens``, ``reasoning``, ``tools``, …).

        Raises:
            HeadraceError: As `chat` does.
        """
        try:
            given: Any = options
            own = pop_call_options(given)
            body = response_body(input, instructions, given, OWN_KEYWORDS)
            request = self._request(self._with_own(body, own), own, "/responses")
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
        """Embed any number of texts: one vector for each, in their order.

        They are sent in batches of at most ``batch_size`` texts and 300,000 bytes: all batches at once, as
        far as ``max_in_flight`` allows. Without texts nothing is sent.

        Args:
            texts: A list or another iterable.
            dimensions: The length of the vectors, by default the model's own.
            batch_size: Texts in a request, by default 2048, which is what OpenAI takes.
            **options: As with `chat`, the same for each batch; ``deadline`` is in seconds for all of them.

        Raises:
            RequestError: Before anything is sent: for one text in place of a list, and for an empty text or
                what is no text, with its index.
            CallError: A batch failed, and those still under way were cancelled; of these `InvalidReply` where
                it has not one vector for each text.
        """
        try:
            self._check_usable()
            check_keywords("embed", options, OWN_KEYWORDS)
            body = self._with_own(embeddings_body(dimensions), options)
            request = as_request(self._request(body, options, "/embeddings"), self._settings.model)
            batches = in_batches(texts, batch_size)
        except HeadraceError:
            await checkpoint()
            raise
        until = None if request.deadline is None else self._now() + request.deadline
        send = functools.partial(self._send_request, until=until)
        return await embed(send, request, batches, self.limiter.total_tokens)

    async def models(self, **options: Unpack[CallOptions]) -> list[str]:
        """The ids of the models that the endpoint lists, in its order.

        Args:
            **options: As with `request`.

        Raises:
            CallError: The call failed; of these `InvalidReply` where the answer is no such list.
        """
        return parse_model_ids(await self.request("GET", "/models", **options))

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> Reply:
        """Call anything else that the endpoint has, with the same policies.

        Args:
            method: Of HTTP.
            path: What is appended to the base URL.
            body: Sent as JSON; the model is filled in where it names none.
            **options: ``id``, ``timeout``, ``deadline``, ``tags``, ``headers`` and ``priority``, as with
                `chat`.

        Raises:
            HeadraceError: As `chat` does.
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
        """Ask for one chat completion and read it as it is made: an async context manager over its pieces.

        In the block iterate over the stream for each `Chunk`; after the last one ``stream.reply`` is the
        whole `Reply`, with usage, cost and the time to its first token. Leaving the block early drops the
        rest. A stream counts as in flight until its block ends.

        Args:
            messages: As with `chat`.
            stream_options: The API's; token counts are asked for unless these say
                ``{"include_usage": False}``.
            **options: As with `chat`. ``timeout`` bounds the wait for the first piece (``total``) and from
                piece to piece (``stall``, default 60 s), ``deadline`` all of it.

        Raises:
            HeadraceError: What `chat` raises: before the first piece when the block is entered, having
                retried as the policies say, and later out of the iteration, where nothing is sent again and
                ``error.partial`` is what had come.
        """
        return Stream(self._begin_stream(self._chat_request(messages, options, None, stream_options)))

    def _chat_request(
        self,
        messages: str | Iterable[Message],
        options: Any,
        answer: Any,
        stream_options: Mapping[str, Any] | None = None,
    ) -> Request:
        own = pop_call_options(options)
        body = chat_body(messages, options, OWN_KEYWORDS)
        if stream_options is not None:
            body["stream_options"] = stream_options
        return self._request(self._with_own(body, own), own, answer=answer)

    def _with_own(self, body: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
        """Put in what a call says besides the API's parameters, and the model."""
        extra = own.get("extra_body")
        if extra is not None:
            if not isinstance(extra, Mapping):
                raise RequestError(f"extra_body must be a mapping, not {type(extra).__name__}")
            body.update(extra)
        # The model at once: a request that is made anew for it takes twice as long.
        model = own.get("model")
        if model is None and body.get("model") is None:
            model = self._settings.model
        if model is not None:
            body["model"] = model
        return body

    @staticmethod
    def _request(
        body: Mapping[str, Any] | None,
        own: Mapping[str, Any],
        path: str = "/chat/completions",
        method: str = "POST",
        answer: Any = None,
    ) -> Request:
        """The request of a call that says ``own`` of the keywords that all calls have."""
        headers = own.get("headers")
        return Request(
            body,
            path,
            method,
            own.get("id"),
            own.get("timeout"),
            own.get("deadline"),
            own.get("tags") or EMPTY,
            () if headers is None else header_pairs(headers),
            answer,
            own.get("priority", 0),
        )
