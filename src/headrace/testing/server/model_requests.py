"""Requests that the simulated model answers: parsed, counted, and answered without delay or fault."""

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from headrace.testing.server.chat import ChatRequest, create_completion
from headrace.testing.server.completions import CompletionsRequest, create_plain_completion
from headrace.testing.server.embeddings import EmbeddingsRequest, check_texts, create_embeddings
from headrace.testing.server.media_tokens import MediaTokens, count_media_tokens
from headrace.testing.server.quirks import Quirk
from headrace.testing.server.request_parsing import parse_body
from headrace.testing.server.response_plan import RejectedRequest, ResponsePlan, apply_quirks
from headrace.testing.server.responses import ResponsesRequest, create_response
from headrace.testing.server.seeded_random import fingerprint
from headrace.testing.server.tokenizer import count_tokens

RequestBody: TypeAlias = ChatRequest | CompletionsRequest | EmbeddingsRequest | ResponsesRequest

REQUEST_TYPES: dict[str, type[RequestBody]] = {
    "/chat/completions": ChatRequest,
    "/completions": CompletionsRequest,
    "/embeddings": EmbeddingsRequest,
    "/responses": ResponsesRequest,
}
"""The type of the body for each path, without the version."""

_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


@attrs.frozen
class ModelRequest:
    """A valid request.

    Args:
        route: A path of `REQUEST_TYPES`.
        content: The body, as it was sent.
        body: The parsed body.
        media: The tokens of images, audio and files.
        digest: From the seed, the path and the body; ids and draws begin with it.
    """

    route: str
    content: bytes
    body: RequestBody
    media: MediaTokens
    digest: bytes

    def input_tokens(self) -> int:
        """The number of tokens that the answer's usage reports as input."""
        if isinstance(self.body, EmbeddingsRequest):
            return sum(map(count_tokens, self.body.texts()))
        if isinstance(self.body, CompletionsRequest):
            return sum(map(count_tokens, self.body.prompts()))
        chat = self.body.chat_request() if isinstance(self.body, ResponsesRequest) else self.body
        return sum(count_tokens(message.text) for message in chat.messages) + self.media.total


def parse_request(route: str, content: bytes, *, seed: int) -> ModelRequest:
    """Parse the body of a request.

    Args:
        route: A path of `REQUEST_TYPES`.
        content: The body.
        seed: Another seed gives another digest.

    Raises:
        RejectedRequest: The body is invalid. Status 400; ``param`` is the field.
    """
    body: RequestBody = parse_body(content, REQUEST_TYPES[route])
    if isinstance(body, ResponsesRequest | CompletionsRequest) and body.stream:
        kind = "Responses" if isinstance(body, ResponsesRequest) else "Plain completions"
        raise RejectedRequest(400, f"{kind} are not streamed here; leave out 'stream'.", param="stream")
    if isinstance(body, EmbeddingsRequest):
        check_texts(body)
    media = count_media_tokens(body.messages) if isinstance(body, ChatRequest) else MediaTokens()
    return ModelRequest(route, content, body, media, fingerprint(seed, route.encode(), content))


def answer_request(
    request: ModelRequest, plan: ResponsePlan, *, seed: int, quirks: Sequence[Quirk]
) -> ResponsePlan:
    """The plan with the answer in it.

    Args:
        request: The request.
        plan: The delay, headers and fault of the response.
        seed: Another seed gives another answer.
        quirks: Applied to answers to chats.
    """
    body, digest = request.body, request.digest.hex()[:24]
    whole = attrs.evolve(plan, headers={**_JSON, **plan.headers})
    if isinstance(body, EmbeddingsRequest):
        return attrs.evolve(whole, content=create_embeddings(body, seed=seed))
    if isinstance(body, ResponsesRequest):
        return attrs.evolve(whole, content=create_response(body, id=f"resp_{digest}", seed=seed))
    if isinstance(body, CompletionsRequest):
        return attrs.evolve(whole, content=create_plain_completion(body, id=f"cmpl-{digest}", seed=seed))
    completion = create_completion(body, id=f"chatcmpl-{digest}", seed=seed, media=request.media)
    if not body.stream:
        answered = attrs.evolve(whole, content=completion.body())
    else:
        wants_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        events = completion.events(include_usage=wants_usage)
        # Half of the delay comes before the first event and the rest between the events, so a streamed reply
        # takes as long as one that is not streamed.
        half = plan.delay / 2
        answered = attrs.evolve(
            plan, delay=half, headers={**_EVENTS, **plan.headers}, events=events, gap=half / (len(events) - 1)
        )
    return apply_quirks(quirks, answered, request.content) if quirks else answered
