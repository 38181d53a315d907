"""Finish reasons say why an answer is not complete."""

from __future__ import annotations

from typing import Any, Literal

import pytest

import headrace
from headrace.testing import Answer, FakeEndpoint
from headrace.wire.finish_reasons import classify_finish_reason


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("stop", None),
        ("tool_calls", None),
        ("completed", None),
        ("a new reason", None),
        (None, None),
        (5, None),
        (["length"], None),
        ("length", "cut_off"),
        ("max_tokens", "cut_off"),
        ("model_context_window_exceeded", "context_window"),
        ("content_filter", "filtered"),
        ("SAFETY", "filtered"),
        ("refusal", "refused"),
        ("insufficient_system_resource", "failed"),
        ("queued", "pending"),
    ],
)
def test_a_finish_reason_has_a_kind(reason: Any, kind: str | None) -> None:
    assert classify_finish_reason(reason) == kind


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reason", "explanation"),
    [
        ("content_filtered", "content filter"),
        ("safety", "content filter"),
        ("insufficient_system_resource", "out of resources"),
        ("network_error", None),
        ("stop", None),
    ],
)
async def test_an_invalid_answer_is_explained_by_its_finish_reason(
    reason: str, explanation: str | None
) -> None:
    choice = {"message": {"role": "assistant", "content": "I"}, "finish_reason": reason}
    async with FakeEndpoint(Answer(body={"choices": [choice]})).client() as client:
        with pytest.raises(headrace.AnswerError, match=explanation or "is not") as caught:
            await client.chat("Which?", answer=Literal["a", "b"])
    assert caught.value.finish_reason == (None if explanation is None else reason)
