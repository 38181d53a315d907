"""Plain completions, without streaming: the same text as the answer to a chat with the prompt."""

from typing import Annotated

import attrs
import msgspec
from msgspec import Meta

from headrace.testing.server.chat import CREATED, ChatRequest, create_completion
from headrace.testing.server.messages import Message
from headrace.testing.server.tokenizer import count_tokens


@attrs.frozen(kw_only=True)
class CompletionsRequest:
    """The fields of a completions request that the endpoint uses; other fields are ignored."""

    model: str
    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=2048)]
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None

    def prompts(self) -> list[str]:
        """The prompts to complete."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def chat_request(self, prompt: str) -> ChatRequest:
        """The chat with the same answer to one of the prompts."""
        return ChatRequest(
            model=self.model,
            messages=[Message("user", prompt)],
            n=self.n,
            max_tokens=self.max_tokens or 16,  # OpenAI's default
            stop=self.stop,
        )


def create_plain_completion(request: CompletionsRequest, *, id: str, seed: int) -> bytes:
    """The body of the reply to a completions request: the choices of each prompt, one prompt after another.

    Args:
        request: The request.
        id: The id of the completion.
        seed: Another seed gives another text.
    """
    prompts = request.prompts()
    answers = [
        choice
        for prompt in prompts
        for choice in create_completion(request.chat_request(prompt), id=id, seed=seed).choices
    ]
    prompt_tokens = sum(map(count_tokens, prompts))
    completion_tokens = sum(count_tokens(answer.text) for answer in answers)
    return msgspec.json.encode(
        {
            "id": id,
            "object": "text_completion",
            "created": CREATED,
            "model": request.model,
            "choices": [
                {
                    "index": index,
                    "text": answer.text,
                    "logprobs": None,
                    "finish_reason": answer.finish_reason,
                }
                for index, answer in enumerate(answers)
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }
    )
