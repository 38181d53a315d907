"""Answers as in the vendors' API references, complete and as events, with the expected results."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from headrace import Usage


@attrs.frozen
class Shape:
    """A vendor's answer: its body or chunks, and the expected result."""

    vendor: str
    body: dict[str, Any] | None
    text: str
    usage: Usage | None
    chunks: tuple[dict[str, Any], ...] = ()
    reasoning: str = ""
    tools: tuple[tuple[str, str], ...] = ()
    finish_reason: str | None = "stop"

    def events(self) -> bytes:
        """Return the chunks as a stream of events."""
        lines = [b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in self.chunks]
        return b"".join([*lines, b"data: [DONE]\n\n"])


def _whole(message: dict[str, Any], usage: Any, finish: str = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1753251234,
        "model": "m-1",
        "choices": [choice],
        "usage": usage,
        **more,
    }


def _chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1753251234,
        "model": "m-1",
        "choices": choices,
        **more,
    }


def _counts(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        **more,
    }


OPENAI_COUNTS = _counts(
    19,
    10,
    prompt_tokens_details={"cached_tokens": 8, "audio_tokens": 0},
    completion_tokens_details={
        "reasoning_tokens": 4,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
)
OPENAI_USAGE = Usage(19, 10, 29, 8, reasoning_tokens=4, prompt_audio_tokens=0, completion_audio_tokens=0)
SAFE = {"hate": {"filtered": False, "severity": "safe"}}
TOOL = {"name": "weather", "arguments": '{"city": "Bonn"}'}

SHAPES = [
    Shape(
        "openai",
        _whole(
            {"content": "Hello there", "refusal": None, "annotations": []},
            OPENAI_COUNTS,
            service_tier="default",
            system_fingerprint="fp_1",
        ),
        "Hello there",
        OPENAI_USAGE,
        (
            _chunk({"role": "assistant", "content": "", "refusal": None}, usage=None, obfuscation="x"),
            _chunk({"content": "Hello"}, usage=None),
            _chunk({"content": " there"}, usage=None),
            _chunk({}, "stop", usage=None),
            _chunk(None, usage=OPENAI_COUNTS),
        ),
    ),
    Shape(
        "openai tools",
        _whole(
            {
                "content": None,
                "tool_calls": [
                    {"id": "call_a", "type": "function", "function": TOOL},
                    {"id": "call_b", "type": "function", "function": {"name": "now", "arguments": "{}"}},
                ],
            },
            OPENAI_COUNTS,
            "tool_calls",
        ),
        "",
        OPENAI_USAGE,
        (
            _chunk(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "call_a",
                            "type": "function",
                            "function": {"name": "weather", "arguments": ""},
                        }
                    ],
                }
            ),
            _chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}),
            _chunk({"tool_calls": [{"index": 0, "function": {"arguments": ' "Bonn"}'}}]}),
            _chunk(
                {
                    "tool_calls": [
                        {
                            "index": 1,
                            "id": "call_b",
                            "type": "function",
                            "function": {"name": "now", "arguments": "{}"},
                        }
                    ]
                }
            ),
            _chunk({}, "tool_calls"),
            _chunk(None, usage=OPENAI_COUNTS),
        ),
        tools=(("weather", '{"city": "Bonn"}'), ("now", "{}")),
        finish_reason="tool_calls",
    ),
    Shape(
        "azure",
        _whole(
            {"content": "Hello"},
            OPENAI_COUNTS,
            prompt_filter_results=[{"prompt_index": 0, "content_filter_results": SAFE}],
        ),
        "Hello",
        OPENAI_USAGE,
        (
            {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{}]},
            _chunk({"role": "assistant", "content": ""}),
            _chunk({"content": "Hello"}),
            _chunk({}, "stop"),
            _chunk(None, usage=OPENAI_COUNTS),
        ),
    ),
    Shape(
        "anthropic, compatible",
        _whole({"content": "Hello"}, _counts(19, 10, prompt_tokens_details=None)),
        "Hello",
        Usage(19, 10, 29),
        (
            _chunk({"role": "assistant", "content": "Hel"}),
            _chunk({"content": "lo"}),
            _chunk({}, "stop"),
            _chunk(None, usage=_counts(19, 10)),
        ),
    ),
    Shape(
        "gemini",
        _whole(
            {"content": "<thought>Well</thought>Hello"},
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115},
        ),
        "Hello",
        Usage(10, 105, 115),
        (
            _chunk({"role": "assistant", "content": "<thought>Well"}),
            _chunk({"content": "</thought>Hello"}, "stop"),
            _chunk(None, usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}),
        ),
        reasoning="Well",
    ),
    Shape(
        "mistral",
        _whole(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Well"}]},
                    {"type": "text", "text": "Hello"},
                ],
                "tool_calls": None,
                "prefix": False,
            },
            _counts(10, 5, num_cached_tokens=3),
        ),
        "Hello",
        Usage(10, 5, 15, 3),
        (
            _chunk({"role": "assistant", "content": ""}),
            _chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Well"}]}]}),
            _chunk({"content": [{"type": "text", "text": "Hel"}]}),
            _chunk({"content": "lo"}),
            _chunk({"content": ""}, "stop", usage=_counts(10, 5, num_cached_tokens=3)),
        ),
        reasoning="Well",
    ),
    Shape(
        "deepseek",
        _whole(
            {"content": "Hello", "reasoning_content": "Well"},
            _counts(
                10,
                5,
                prompt_cache_hit_tokens=4,
                prompt_cache_miss_tokens=6,
                completion_tokens_details={"reasoning_tokens": 2},
            ),
        ),
        "Hello",
        Usage(10, 5, 15, 4, reasoning_tokens=2),
        (
            _chunk({"role": "assistant", "content": None, "reasoning_content": "We"}),
            _chunk({"content": None, "reasoning_content": "ll"}),
            _chunk({"content": "Hello", "reasoning_content": None}),
            _chunk(
                {"content": "", "reasoning_content": None},
                "stop",
                usage=_counts(
                    10, 5, prompt_cache_hit_tokens=4, completion_tokens_details={"reasoning_tokens": 2}
                ),
            ),
        ),
        reasoning="Well",
    ),
    Shape(
        "xai",
        _whole(
            {"content": "Hello", "reasoning_content": "Well", "refusal": None},
            {
                "prompt_tokens": 10,
                "completion_tokens": 2,
                "total_tokens": 32,
                "prompt_tokens_details": {
                    "text_tokens": 10,
                    "audio_tokens": 0,
                    "image_tokens": 0,
                    "cached_tokens": 3,
                },
                "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 0},
                "num_sources_used": 0,
            },
        ),
        "Hello",
        Usage(
            10,
            22,
            32,
            3,
            reasoning_tokens=20,
            prompt_audio_tokens=0,
            completion_audio_tokens=0,
            prompt_image_tokens=0,
        ),
        reasoning="Well",
    ),
    Shape(
        "groq",
        _whole(
            {"content": "Hello", "reasoning": "Well"},
            _counts(10, 5, queue_time=0.03, prompt_time=0.0002, completion_time=0.02, total_time=0.02),
            x_groq={"id": "req_1"},
        ),
        "Hello",
        Usage(10, 5, 15),
        (
            _chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}),
            _chunk({"reasoning": "Well"}),
            _chunk({"content": "Hello"}),
            _chunk({}, "stop", x_groq={"id": "req_1", "usage": _counts(10, 5, total_time=0.02)}),
        ),
        reasoning="Well",
    ),
    Shape(
        "openrouter",
        _whole(
            {
                "content": "Hello",
                "reasoning": "Well",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "Well", "format": "unknown", "index": 0}
                ],
            },
            _counts(
                10,
                5,
                cost=0.00014,
                is_byok=False,
                prompt_tokens_details={"cached_tokens": 2, "cache_write_tokens": 1, "audio_tokens": 0},
                completion_tokens_details={"reasoning_tokens": 2, "image_tokens": 0},
            ),
            provider="P",
        ),
        "Hello",
        Usage(10, 5, 15, 2, 1, reasoning_tokens=2, prompt_audio_tokens=0, completion_image_tokens=0),
        (
            _chunk({"role": "assistant", "content": "", "reasoning": "Well"}, native_finish_reason=None),
            _chunk({"content": "Hello"}, provider="P"),
            _chunk({"content": ""}, "stop"),
            _chunk({"role": "assistant", "content": ""}, usage=_counts(10, 5, cost=0.00014)),
        )[:3],
        reasoning="Well",
    ),
    Shape(
        "together",
        _whole({"content": "Hello", "tool_calls": []}, _counts(10, 5), prompt=[]),
        "Hello",
        Usage(10, 5, 15),
        (
            {
                "id": "o-1",
                "object": "chat.completion.chunk",
                "created": 1753251234,
                "choices": [
                    {
                        "index": 0,
                        "text": "Hello",
                        "logprobs": None,
                        "finish_reason": None,
                        "seed": None,
                        "delta": {"role": "assistant", "content": "Hello", "tool_calls": []},
                    }
                ],
                "usage": None,
            },
            _chunk({"content": ""}, "stop", usage=_counts(10, 5)),
        ),
    ),
    Shape(
        "moonshot",
        _whole({"content": "Hello"}, _counts(10, 5, cached_tokens=7)),
        "Hello",
        Usage(10, 5, 15, 7),
        (
            _chunk({"role": "assistant", "content": "Hello"}),
            {
                "id": "c",
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "finish_reason": "stop",
                        "usage": _counts(10, 5, cached_tokens=7),
                    }
                ],
            },
        ),
    ),
    Shape(
        "vllm",
        _whole(
            {"content": "Hello", "reasoning_content": None, "tool_calls": [], "refusal": None},
            _counts(10, 5, prompt_tokens_details=None),
            prompt_logprobs=None,
            kv_transfer_params=None,
        ),
        "Hello",
        Usage(10, 5, 15),
        (
            _chunk({"role": "assistant", "content": ""}),
            _chunk({"content": "Hello"}),
            _chunk({"content": ""}, "stop"),
            _chunk(None, usage=_counts(10, 5)),
        ),
    ),
    Shape(
        "sglang",
        _whole(
            {"content": "Hello", "reasoning_content": None, "tool_calls": None},
            _counts(10, 5, prompt_tokens_details=None, reasoning_tokens=0),
            metadata={"weight_version": "default"},
        ),
        "Hello",
        Usage(10, 5, 15, reasoning_tokens=0),
        (
            _chunk({"role": "assistant", "content": "", "reasoning_content": None}),
            _chunk({"role": None, "content": "Hello"}),
            _chunk({"role": None, "content": None}, "stop"),
            _chunk(None, usage=_counts(10, 5, reasoning_tokens=0)),
        ),
    ),
    Shape(
        "llama.cpp",
        _whole(
            {"content": "<think>\nWell\n</think>\n\nHello"},
            _counts(10, 5),
            timings={"prompt_n": 10, "prompt_ms": 9.5, "predicted_per_second": 88.1},
        ),
        "Hello",
        Usage(10, 5, 15),
        (
            _chunk({"role": "assistant", "content": None}),
            _chunk({"content": "<th"}),
            _chunk({"content": "ink>\nWell\n</thi"}),
            _chunk({"content": "nk>\n"}),
            _chunk({"content": "\nHello"}),
            _chunk({}, "stop", timings={"prompt_n": 10}),
            _chunk(None, usage=_counts(10, 5)),
        ),
        reasoning="\nWell\n",
    ),
    Shape(
        "ollama",
        _whole({"content": "Hello", "reasoning": "Well"}, _counts(10, 5), system_fingerprint="fp_ollama"),
        "Hello",
        Usage(10, 5, 15),
        (
            _chunk({"role": "assistant", "content": "", "reasoning": "Well"}),
            _chunk({"role": "assistant", "content": "Hello"}),
            _chunk({"role": "assistant", "content": ""}, "stop"),
            _chunk(None, usage=_counts(10, 5)),
        ),
        reasoning="Well",
    ),
]
