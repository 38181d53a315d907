"""The reasons to use another model: real errors and answers of each vendor."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import AnswerError, ConnectError, InvalidReply, Reply, StatusError
from headrace.replies import Headers
from headrace_route.reasons import reason_of_error, reason_of_reply

CONTEXT: list[tuple[str, int, Any]] = [
    (
        "OpenAI",
        400,
        {
            "error": {
                "message": "This model's maximum context length is 128000 tokens. However, your "
                "messages resulted in 150011 tokens.",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            }
        },
    ),
    (
        "OpenAI responses",
        400,
        {"error": {"message": "Your input exceeds the context window of this model.", "code": None}},
    ),
    (
        "OpenAI, one message",
        400,
        {
            "error": {
                "message": "Invalid 'messages[0].content': string too long.",
                "param": "messages[0].content",
                "code": "string_above_max_length",
            }
        },
    ),
    (
        "vLLM",
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5000.",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    (
        "vLLM, prompt",
        400,
        {
            "error": {
                "message": "The decoder prompt (length 5951) is longer than the maximum model length of 4.",
                "type": "BadRequestError",
                "code": 400,
            }
        },
    ),
    (
        "SGLang",
        400,
        {
            "object": "error",
            "message": "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
            "code": 400,
        },
    ),
    (
        "llama.cpp",
        400,
        {
            "error": {
                "code": 400,
                "message": "request (13392 tokens) exceeds the available context size (8192 tokens)",
                "type": "exceed_context_size_error",
            }
        },
    ),
    (
        "Anthropic",
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "prompt is too long: 213462 tokens > 200000 maximum",
            },
        },
    ),
    (
        "Gemini",
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1196265) exceeds the maximum number of tokens "
                    "allowed (1048575).",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ),
    (
        "Mistral",
        400,
        {
            "object": "error",
            "message": "Prompt contains 40001 tokens and 0 draft tokens, too large for model with "
            "32768 maximum context length",
            "type": "invalid_request_error",
            "code": "3051",
        },
    ),
    (
        "xAI",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        },
    ),
    (
        "Groq",
        400,
        {
            "error": {
                "message": "Please reduce the length of the messages or completion.",
                "type": "invalid_request_error",
                "code": "context_length_exceeded",
            }
        },
    ),
    (
        "Moonshot",
        400,
        {
            "error": {
                "message": "Invalid request: Your request exceeded model token limit: 8192",
                "type": "invalid_request_error",
            }
        },
    ),
    (
        "OpenRouter, a provider's words inside",
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {
                    "raw": '{"message":"prompt is too long: 9 tokens > 8 maximum"}',
                    "provider_name": "X",
                },
            }
        },
    ),
    (
        "litellm",
        400,
        {"error": {"message": "litellm.ContextWindowExceededError: OpenAIException - …", "code": "400"}},
    ),
    (
        "GitHub Models",
        413,
        {"error": {"code": "tokens_limit_reached", "message": "Request body too large for gpt-4o model."}},
    ),
]
POLICY: list[tuple[str, int, Any]] = [
    (
        "Azure",
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's "
                "content management policy.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
            }
        },
    ),
    (
        "Azure by way of a gateway",
        400,
        {
            "error": {
                "message": "rejected",
                "code": "400",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
    ),
    (
        "OpenAI, reasoning",
        400,
        {
            "error": {
                "message": "Invalid prompt: your prompt was flagged as potentially violating our policy.",
                "type": "invalid_request_error",
                "code": "invalid_prompt",
            }
        },
    ),
    (
        "OpenAI, images",
        400,
        {"error": {"message": "Your request was rejected.", "code": "content_policy_violation"}},
    ),
    (
        "Anthropic",
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Output blocked by content filtering policy",
            },
        },
    ),
    (
        "DeepSeek",
        400,
        {
            "error": {
                "message": "Content Exists Risk",
                "type": "invalid_request_error",
                "code": "invalid_request_error",
            }
        },
    ),
    (
        "Moonshot",
        400,
        {
            "error": {
                "message": "The request was rejected because it was considered high risk",
                "type": "content_filter",
            }
        },
    ),
    (
        "DashScope",
        400,
        {
            "error": {
                "code": "data_inspection_failed",
                "message": "Input data may contain inappropriate content.",
            }
        },
    ),
    (
        "Zhipu",
        400,
        {
            "contentFilter": [{"level": 1, "role": "user"}],
            "error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"},
        },
    ),
    (
        "xAI",
        403,
        {
            "code": "permission-denied",
            "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
        },
    ),
    (
        "OpenRouter",
        403,
        {
            "error": {
                "code": 403,
                "message": 'x/y requires moderation on Azure. Your input was flagged for "violence".',
                "metadata": {"reasons": ["violence"]},
            }
        },
    ),
]
NEITHER: list[tuple[str, int, Any]] = [
    (
        "another parameter is too long",
        400,
        {
            "error": {
                "message": "Invalid 'user': string too long.",
                "param": "user",
                "code": "string_above_max_length",
            }
        },
    ),
    (
        "a parameter",
        400,
        {
            "error": {
                "message": "Invalid value for 'temperature'.",
                "code": "invalid_value",
                "param": "temperature",
            }
        },
    ),
    (
        "too large for a minute's tokens",
        429,
        {
            "error": {
                "message": "Request too large. Please reduce the length of the messages.",
                "code": "rate_limit_exceeded",
            }
        },
    ),
    (
        "a request that is repeated in the error",
        422,
        {"detail": [{"loc": ["body"], "msg": "bad", "input": "prompt is too long: content exists risk"}]},
    ),
    ("no model of this name", 404, {"error": {"message": "no such model", "code": "model_not_found"}}),
    ("no key", 401, {"error": {"message": "maximum context length", "code": "context_length_exceeded"}}),
    ("nothing", 400, b""),
    ("HTML", 400, b"<html>Bad Request</html>"),
    ("not even text", 500, b"\xff\xfe"),
    ("deep", 400, b'{"error":' * 5000 + b"1" + b"}" * 5000),
    ("foreign types", 400, {"error": {"code": ["x"], "type": 3, "message": {"a": 1}, "innererror": [7]}}),
]


def error_of(status: int, body: Any, message: str = "refused") -> StatusError:
    """Return an error with this body, whose message shows no reason."""
    return StatusError(message, status, None, body if isinstance(body, bytes) else msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("status", "body"), [case[1:] for case in CONTEXT], ids=[case[0] for case in CONTEXT]
)
def test_an_exceeded_context_window_is_recognised(status: int, body: Any) -> None:
    if isinstance(body, dict) and isinstance(body.get("error"), str):  # headrace puts it into its message
        assert reason_of_error(error_of(status, body, body["error"])) == "context_window"
    else:
        assert reason_of_error(error_of(status, body)) == "context_window"


@pytest.mark.parametrize(("status", "body"), [case[1:] for case in POLICY], ids=[case[0] for case in POLICY])
def test_a_content_policy_is_recognised(status: int, body: Any) -> None:
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        assert reason_of_error(error_of(status, body, body["error"])) == "content_policy"
    else:
        assert reason_of_error(error_of(status, body)) == "content_policy"


@pytest.mark.parametrize(
    ("status", "body"), [case[1:] for case in NEITHER], ids=[case[0] for case in NEITHER]
)
def test_other_errors_have_no_reason(status: int, body: Any) -> None:
    assert reason_of_error(error_of(status, body)) is None


def test_an_error_under_status_200_is_recognised_by_its_message() -> None:
    message = "status 200, but the body is an error: 'This model\\'s maximum context length is 8 tokens'"
    assert reason_of_error(InvalidReply(message)) == "context_window"
    assert reason_of_error(InvalidReply("stopped", "content_filter")) == "content_policy"
    assert reason_of_error(InvalidReply("the body is not JSON: nothing")) is None
    assert reason_of_error(ConnectError("content exists risk")) is None


def reply_of(body: Any) -> Reply:
    return Reply(200, Headers([]), body if isinstance(body, bytes) else msgspec.json.encode(body))


def chat(*choices: dict[str, Any]) -> dict[str, Any]:
    return {"object": "chat.completion", "choices": list(choices)}


ENDED = {"message": {"role": "assistant", "content": "", "refusal": None}}
REFUSED = {"message": {"role": "assistant", "content": None, "refusal": "I cannot."}, "finish_reason": "stop"}
ANSWERED = {"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (chat(ENDED | {"finish_reason": "content_filter"}), "content_policy"),
        (chat(ENDED | {"finish_reason": "SAFETY"}), "content_policy"),
        (chat(ENDED | {"finish_reason": "sensitive"}), "content_policy"),
        (chat(REFUSED), "refusal"),
        (chat(REFUSED, ENDED | {"finish_reason": "content_filter"}), "refusal"),
        (chat(REFUSED, ANSWERED), None),
        (chat(ANSWERED), None),
        (chat(ENDED | {"finish_reason": "length"}), None),
        (chat(ENDED | {"finish_reason": "insufficient_system_resource"}), None),
        ({"type": "message", "content": [], "stop_reason": "refusal"}, "refusal"),
        (
            {"type": "message", "content": [], "stop_reason": "model_context_window_exceeded"},
            "context_window",
        ),
        (
            {"type": "message", "content": [{"type": "text", "text": "refusal"}], "stop_reason": "end_turn"},
            None,
        ),
        (
            {
                "object": "response",
                "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}],
            },
            "refusal",
        ),
        (
            {
                "object": "response",
                "status": "incomplete",
                "incomplete_details": {"reason": "content_filter"},
                "output": [{"type": "message", "content": []}],
            },
            "content_policy",
        ),
        ({"data": [{"embedding": [1.0]}]}, None),
        (b'"finish_reason": "content_filter"', None),
        (b'["refusal", {"finish_reason": "content_filter"}]', None),
        (b'{"choices": [7, {"finish_reason": "content_filter", "message": 3}]}', "content_policy"),
        (b"", None),
    ],
)
def test_a_reply_without_an_answer_has_a_reason(body: Any, reason: str | None) -> None:
    assert reason_of_reply(reply_of(body)) == reason
    failed = AnswerError("the answer is not one")
    failed.partial = reply_of(body)
    assert reason_of_error(failed) == reason


def test_an_answer_error_without_a_reply_has_no_reason() -> None:
    assert reason_of_error(AnswerError("…")) is None


NAMES = st.sampled_from(
    "error code type message param innererror metadata raw choices finish_reason refusal stop_reason output "
    "content incomplete_details reason contentFilter x".split()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "refusal", "content_filter", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(body=JSON, code=st.none() | st.sampled_from(["content_filter", "x"]))
def test_no_body_raises_an_error(body: Any, code: str | None) -> None:
    known = {None, "context_window", "content_policy", "refusal"}
    assert reason_of_reply(reply_of(body)) in known
    assert reason_of_error(StatusError("message", 400, None, msgspec.json.encode(body), code)) in known
