"""The API's own calls: chat, stream, respond, embed, models, and anything else that an endpoint has."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, overload

from headrace.embeddings import Embeddings, embed, embeddings_body, in_batches
from headrace.endpoints import EMPTY
from headrace.listing import model_ids
from headrace.model import Call, Request, Timeout
from headrace.reply import Answered, Reply
from headrace.requests import Message, as_request, chat_body, response_body
from headrace.settings import CoreSettings
from headrace.streaming import Stream
from headrace.tokens import Limiter

T = TypeVar("T")


class Api(ABC):
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

    def _name_model(self, body: dict[str, Any], model: str | None) -> None:
        """Put the model into a body at once; a request that is made anew for it takes twice as long."""
        if model is None and body.get("model") is None:
            model = self._settings.model
        if model is not None:
            body["model"] = model

    @overload
    async def chat(
        self,
        messages: str | Iterable[Message],
        *,
        answer: None = None,
        model: str | None = None,
        id: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Reply: ...
    @overload
    async def chat(
        self, messages: str | Iterable[Message], *, answer: type[T], **keywords: Any
    ) -> Answered[T]: ...
    @overload
    async def chat(
        self, messages: str | Iterable[Message], *, answer: object, **keywords: Any
    ) -> Answered[Any]: ...
    async def chat(
        self,
        messages: str | Iterable[Message],
        *,
        answer: Any = None,
        model: str | None = None,
        id: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Reply:
        """Ask for one chat completion.

        ``messages`` is a prompt or a list of messages; ``parameters`` are the API's own (``temperature``,
        ``max_tokens``, ``tools``: as it has them or as `Tools`, …), ``extra_body`` what only your endpoint
        knows. ``timeout`` is in seconds per attempt, ``deadline`` in seconds for all of it; see `Request` for
        ``id``, ``tags`` and ``priority``.

        ``answer`` is a type: a dataclass, an attrs class, a msgspec Struct, a pydantic model, a Literal, an
        Enum or a list of these; or a JSON schema as a mapping. It is sent as ``response_format``, or in a
        message to an endpoint that refuses that, and ``reply.answer`` is an instance of it.

        Raises `RequestError` before anything is sent, `CallError` when the call failed; of these
        `AnswerError` where the answer is no ``answer``: ``error.partial`` is the reply as it came.
        """
        body = chat_body(messages, parameters) | dict(extra_body or {})
        self._name_model(body, model)
        request = Request(
            body,
            id=id,
            timeout=timeout,
            deadline=deadline,
            tags=tags or EMPTY,
            answer=answer,
            priority=priority,
        )
        return await self._send_request(request)

    async def respond(
        self,
        input: str | Iterable[Message],
        *,
        model: str | None = None,
        instructions: str | None = None,
        id: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Reply:
        """Ask for one response (``POST /responses``), whole.

        ``input`` is a prompt or a list of input items, ``instructions`` what stands above it;
        ``parameters`` are the API's own (``max_output_tokens``, ``reasoning``, ``tools``, …), everything
        else as with `chat`. ``reply.text`` is the text of all its messages, ``reply.body["output"]`` all
        its items. Raises as `chat` does.
        """
        body = response_body(input, instructions, parameters) | dict(extra_body or {})
        self._name_model(body, model)
        request = Request(body, "/responses", "POST", id, timeout, deadline, tags or EMPTY, priority=priority)
        return await self._send_request(request)

    async def embed(
        self,
        texts: Iterable[str],
        *,
        model: str | None = None,
        dimensions: int | None = None,
        batch: int | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Embeddings:
        """Embed any number of texts: one vector for each, in their order.

        They are sent in batches of at most ``batch`` texts (default 2048) and 300,000 bytes, which is what
        OpenAI takes; all batches at once, as far as ``max_in_flight`` allows. ``dimensions`` is the length
        of the vectors, by default the model's own. ``timeout`` is in seconds per attempt of a batch,
        ``deadline`` in seconds for all of them; ``tags`` and ``extra_body`` are those of `chat`, the same for
        each batch. Without texts nothing is sent.

        Raises `RequestError` before anything is sent: for one text in place of a list, and for an empty text
        or what is no text, with its index. Raises `CallError` when a batch failed, of these `InvalidReply`
        when it has not one vector for each text; the batches still under way are cancelled.
        """
        self._check_usable()
        body = embeddings_body(dimensions, extra_body)
        self._name_model(body, model)
        request = Request(
            body,
            "/embeddings",
            timeout=timeout,
            deadline=deadline,
            tags=tags or EMPTY,
            priority=priority,
        )
        request = as_request(request, self._settings.model)
        until = None if deadline is None else self._now() + deadline
        batches = in_batches(texts, batch)
        send = functools.partial(self._send_request, until=until)
        return await embed(send, request, batches, self.limiter.total_tokens)

    async def models(self) -> list[str]:
        """The ids of the models that the endpoint lists, in its order.

        Raises `CallError` when the call failed, of these `InvalidReply` when the answer is no such list.
        """
        return model_ids(await self.request("GET", "/models"))

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> Reply:
        """Call anything else that the endpoint has, with the same policies.

        ``path`` is appended to the base URL; ``body`` is sent as JSON. The model is filled in where the
        body names none. Raises as `chat` does.
        """
        request = Request(body, path, method.upper(), id, timeout, deadline, tags or EMPTY, priority=priority)
        return await self._send_request(request)

    def stream(
        self,
        messages: str | Iterable[Message],
        *,
        model: str | None = None,
        id: str | None = None,
        timeout: float | Timeout | None = None,
        deadline: float | None = None,
        tags: Mapping[str, str] | None = None,
        priority: int = 0,
        stream_options: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Stream:
        """Ask for one chat completion and read it as it is made: an async context manager over its pieces.

        The arguments are those of `chat`, and the API's ``stream_options``; token counts are asked for
        unless these say ``{"include_usage": False}``. In the block iterate over the stream for each `Piece`;
        after the last one ``stream.reply`` is the whole `Reply`, with usage, cost and the time to its first
        token. Leaving the block early drops the rest.

        ``timeout`` bounds the wait for the first piece (``total``)
        and from piece to piece (``stall``, default 60 s), ``deadline`` all of it. A stream counts as in
        flight until its block ends.

        Raises what `chat` raises: before the first piece when the block is entered, having retried as the
        policies say, and later out of the iteration, where nothing is sent again and ``error.partial`` is
        what had come.
        """
        options = {} if stream_options is None else {"stream_options": stream_options}
        body = chat_body(messages, parameters) | options | dict(extra_body or {})
        self._name_model(body, model)
        request = Request(
            body, id=id, timeout=timeout, deadline=deadline, tags=tags or EMPTY, priority=priority
        )
        return Stream(self._begin_stream(request))
