"""Chat completions: from the request's body to a completion, whole or as server-sent events."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import Meta

from headrace.testing.server.answer_text import best_choice, filler_text, find_choices
from headrace.testing.server.media_tokens import MediaTokens
from headrace.testing.server.messages import Message
from headrace.testing.server.schema_answers import structured_answer
from headrace.testing.server.seeded_random import fingerprint
from headrace.testing.server.tokenizer import count_tokens, first_tokens, split_tokens

CREATED = 1_700_000_000
"""The creation time of everything, in Unix seconds. It is constant, so a seed always gives the same body."""

_Positive = Annotated[int, Meta(ge=1)]
_NO_MEDIA = MediaTokens()


@attrs.frozen
class StreamOptions:
    """The parts of a stream in addition to the text."""

    include_usage: bool | None = None


@attrs.frozen(kw_only=True)
class ChatRequest:
    """The fields of a chat request that the endpoint uses; other fields are ignored."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: _Positive | None = None
    max_completion_tokens: _Positive | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None


@attrs.frozen
class Choice:
    """One of the `n` answers."""

    text: str
    finish_reason: Literal["stop", "length"]


@attrs.frozen
class Completion:
    """The answers to a chat request, and their token counts."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    audio_tokens: int

    def usage(self) -> dict[str, Any]:
        """OpenAI's usage object; the total is the sum of its parts."""
        completion_tokens = sum(count_tokens(choice.text) for choice in self.choices)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": self.audio_tokens},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }

    def body(self) -> bytes:
        """The body of a reply that is not streamed."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": choice.text, "refusal": None},
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(self.choices)
        ]
        return msgspec.json.encode(
            self._head("chat.completion") | {"choices": choices, "usage": self.usage()}
        )

    def events(self, *, include_usage: bool) -> tuple[bytes, ...]:
        """The server-sent events of a streamed reply: one token per event, alternating between choices."""
        head = self._head("chat.completion.chunk")
        # If the request asks for usage, OpenAI puts it in every chunk; it is null in all but the last one.
        tail = {"usage": None} if include_usage else {}

        def event(index: int, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            return _event(head | {"choices": [choice]} | tail)

        chunks = [event(at, {"role": "assistant", "content": ""}) for at in range(len(self.choices))]
        for step in zip_longest(*(split_tokens(choice.text) for choice in self.choices)):
            chunks += [event(at, {"content": token}) for at, token in enumerate(step) if token]
        chunks += [event(at, {}, choice.finish_reason) for at, choice in enumerate(self.choices)]
        if include_usage:
            chunks.append(_event(head | {"choices": [], "usage": self.usage()}))
        return (*chunks, b"data: [DONE]\n\n")

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": CREATED,
            "model": self.model,
            "system_fingerprint": "fp_simulated",
        }


def create_completion(
    request: ChatRequest, *, id: str, seed: int, media: MediaTokens = _NO_MEDIA
) -> Completion:
    """Answer a chat request. The text depends on the seed, the model and the messages only.

    Args:
        request: The request.
        id: The id of the completion.
        seed: Another seed gives another text.
        media: The tokens of the messages' images, audio and files.
    """
    random_bytes = fingerprint(seed, request.model.encode(), msgspec.json.encode(request.messages))
    texts = [message.text for message in request.messages]
    return Completion(
        id=id,
        model=request.model,
        choices=tuple(
            _truncate(_answer_text(request, texts, fingerprint(seed, random_bytes, bytes([index]))), request)
            for index in range(request.n or 1)
        ),
        prompt_tokens=sum(map(count_tokens, texts)) + media.total,
        audio_tokens=media.audio,
    )


def _answer_text(request: ChatRequest, texts: Sequence[str], random_bytes: bytes) -> str:
    last_user_message = next(
        (message for message in reversed(request.messages) if message.role == "user"), None
    )
    prompt = last_user_message.text if last_user_message else texts[-1]

    def choose(choices: Sequence[str]) -> str:
        return best_choice(choices, prompt, random_bytes)

    if request.response_format:
        answer = structured_answer(request.response_format, choose, filler_text(prompt, random_bytes))
        if answer is not None:
            return answer
    if choices := find_choices(texts):
        return choose(choices)
    return filler_text(prompt, random_bytes)


def _truncate(text: str, request: ChatRequest) -> Choice:
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    text = text[: min((at for stop in stops if stop and (at := text.find(stop)) >= 0), default=len(text))]
    limit = request.max_completion_tokens or request.max_tokens
    if limit is None or count_tokens(text) <= limit:
        return Choice(text, "stop")
    return Choice(first_tokens(text, limit), "length")


def _event(data: Any) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
