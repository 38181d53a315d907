"""The Responses API, without streaming: the same text as the answer to a chat with these messages."""

from typing import Annotated

import attrs
import msgspec
from msgspec import Meta

from headrace.testing.server.chat import CREATED, ChatRequest, create_completion
from headrace.testing.server.messages import Message, TextPart


@attrs.frozen
class InputPart:
    """A part of an input item; only text is read and counted."""

    type: str
    text: str | None = None


@attrs.frozen
class InputItem:
    """One message of the conversation."""

    role: str
    content: str | list[InputPart] | None = None

    def message(self) -> Message:
        """The message with the same text in a chat."""
        if isinstance(self.content, list):
            return Message(self.role, [TextPart(part.text) for part in self.content if part.text])
        return Message(self.role, self.content)


@attrs.frozen(kw_only=True)
class ResponsesRequest:
    """The fields of a responses request that the endpoint uses; other fields are ignored."""

    model: str
    input: str | Annotated[list[InputItem], Meta(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    stream: bool | None = None

    def chat_request(self) -> ChatRequest:
        """The chat with the same answer."""
        messages = [Message("system", self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            messages.append(Message("user", self.input))
        else:
            messages += [item.message() for item in self.input]
        return ChatRequest(model=self.model, messages=messages, max_completion_tokens=self.max_output_tokens)


def create_response(request: ResponsesRequest, *, id: str, seed: int) -> bytes:
    """The body of the reply to a responses request.

    Args:
        request: The request.
        id: The id of the response.
        seed: Another seed gives another text.
    """
    completion = create_completion(request.chat_request(), id=id, seed=seed)
    [choice] = completion.choices
    cut = choice.finish_reason == "length"
    status = "incomplete" if cut else "completed"
    usage = completion.usage()
    return msgspec.json.encode(
        {
            "id": id,
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "model": request.model,
            "output": [
                {
                    "id": id.replace("resp", "msg"),
                    "type": "message",
                    "status": status,
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": choice.text, "annotations": []}],
                }
            ],
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "output_tokens": usage["completion_tokens"],
                "total_tokens": usage["total_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        }
    )
