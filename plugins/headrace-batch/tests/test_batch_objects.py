"""Which dialect an endpoint has, and what batches and result lines of each provider mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace
from headrace_batch.dialect import BatchState, Dialect, NoBatchesError, is_processed
from headrace_batch.known_dialects import AZURE, AZURE_V1, MISTRAL, OPENAI, TOGETHER, dialect_of
from headrace_batch.marks import batch_marks, file_name, marks_in_name
from headrace_batch.part import Part
from headrace_batch.result_lines import read_result_line

RUNNING, ENDED, REFUSED = BatchState.RUNNING, BatchState.ENDED, BatchState.REFUSED


@pytest.mark.parametrize(
    ("url", "dialect"),
    [
        ("https://api.openai.com/v1", OPENAI),
        ("http://localhost:8000/v1", OPENAI),
        ("https://api.groq.com/openai/v1", OPENAI),
        ("https://api.deepinfra.com/v1/openai", OPENAI),
        ("https://api.mistral.ai.example.com/v1", OPENAI),
        ("https://name.openai.azure.com.example.com/openai", OPENAI),
        ("https://name.openai.azure.com/openai", AZURE),
        ("https://name.openai.azure.us/openai", AZURE),
        ("https://name.cognitiveservices.azure.com/openai", AZURE),
        ("https://name.openai.azure.com/openai/v1", AZURE_V1),
        ("https://name.services.ai.azure.com/openai/v1", AZURE_V1),
        ("https://api.mistral.ai/v1", MISTRAL),
        ("https://api.together.ai/v1", TOGETHER),
        ("https://api.together.xyz/v1", TOGETHER),
    ],
)
def test_dialects_are_found_by_host(url: str, dialect: Dialect) -> None:
    assert dialect_of(headrace.Endpoint(url)) is dialect


@pytest.mark.parametrize("host", ["api.anthropic.com", "openrouter.ai", "api.fireworks.ai"])
def test_hosts_with_batches_of_another_form_are_named(host: str) -> None:
    with pytest.raises(NoBatchesError, match=f"cannot make batches at {host}: they are made .*; leave out"):
        dialect_of(headrace.Endpoint(f"https://{host}/api/v1"))


# From the public references of the batch APIs of OpenAI and Mistral.
OPENAI_BATCH = {
    "id": "batch_abc123",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "errors": None,
    "input_file_id": "file-abc123",
    "completion_window": "24h",
    "status": "completed",
    "output_file_id": "file-cvaTdG",
    "error_file_id": "file-HOWS94",
    "created_at": 1711471533,
    "completed_at": 1711493163,
    "expired_at": None,
    "cancelled_at": None,
    "request_counts": {"total": 100, "completed": 95, "failed": 5},
    "metadata": {"headrace_run": "abc"},
}
MISTRAL_JOB = {
    "id": "job-1",
    "object": "batch",
    "input_files": ["file-in"],
    "endpoint": "/v1/chat/completions",
    "model": "mistral-small-latest",
    "output_file": "file-out",
    "error_file": None,
    "errors": [],
    "status": "SUCCESS",
    "created_at": 1711471533,
    "completed_at": 1711471633,
    "total_requests": 10,
    "completed_requests": 10,
    "succeeded_requests": 9,
    "failed_requests": 1,
    "metadata": {"headrace_run": "abc"},
}
TOGETHER_JOB = {
    "id": "01234567-8901-2345-6789-012345678901",
    "user_id": "user_789xyz012",
    "input_file_id": "file-in",
    "file_size_bytes": 1048576,
    "status": "COMPLETED",
    "job_deadline": "2024-01-15T15:30:00Z",
    "created_at": "2024-01-15T14:30:00Z",
    "endpoint": "/v1/chat/completions",
    "progress": 100,
    "model_id": "m",
    "output_file_id": "file-out",
    "error_file_id": "file-errors",
    "completed_at": "2024-01-15T15:45:30Z",
}
AZURE_BATCH = {
    "cancelled_at": None,
    "completed_at": None,
    "completion_window": "24h",
    "created_at": "2024-07-19T17:13:57.2491382+00:00",
    "error_file_id": None,
    "expires_at": "2024-07-20T17:13:57.1918498+00:00",
    "id": "batch_fe3f047a-de39-4068-9008-346795bfc1db",
    "input_file_id": "file-21006e70789246658b86a1fc205899a4",
    "errors": None,
    "metadata": None,
    "object": "batch",
    "output_file_id": None,
    "request_counts": {"total": None, "completed": None, "failed": None},
    "status": "Validating",
}


@pytest.mark.parametrize(
    ("dialect", "body", "state", "finished", "seconds", "files"),
    [
        (OPENAI, OPENAI_BATCH, ENDED, 100, 21_630.0, ("file-cvaTdG", "file-HOWS94")),
        (MISTRAL, MISTRAL_JOB, ENDED, 10, 100.0, ("file-out",)),
        (TOGETHER, TOGETHER_JOB, ENDED, None, 4_530.0, ("file-out", "file-errors")),
        (AZURE, AZURE_BATCH, RUNNING, None, None, ()),
    ],
)
def test_batches_of_the_references_are_read(
    dialect: Dialect,
    body: Mapping[str, Any],
    state: BatchState,
    finished: int | None,
    seconds: float | None,
    files: tuple[str, ...],
) -> None:
    batch = dialect.read(body)
    assert (batch.state, batch.finished, batch.seconds, batch.output_files) == (
        state,
        finished,
        seconds,
        files,
    )
    assert (batch.id, batch.input_file) == (body["id"], body.get("input_file_id", "file-in"))
    assert batch.metadata == (body.get("metadata") or {})


WORDS = {
    RUNNING: {
        OPENAI: ["validating", "in_progress", "finalizing", "cancelling", "a_new_word"],
        AZURE: ["Validating", "InProgress", "in_progress"],
        MISTRAL: ["QUEUED", "RUNNING", "CANCELLATION_REQUESTED"],
        TOGETHER: ["VALIDATING", "IN_PROGRESS"],
    },
    ENDED: {
        OPENAI: ["completed", "expired", "cancelled"],
        AZURE: ["Completed", "Canceled"],
        MISTRAL: ["SUCCESS", "TIMEOUT_EXCEEDED", "CANCELLED"],
        TOGETHER: ["COMPLETED", "EXPIRED", "CANCELLED"],
    },
    REFUSED: {OPENAI: ["failed"], AZURE: ["Failed"], MISTRAL: ["FAILED"], TOGETHER: ["FAILED"]},
}


@pytest.mark.parametrize(
    ("dialect", "word", "state"),
    [
        pytest.param(dialect, word, state, id=f"{dialect.name}-{word}")
        for state, dialects in WORDS.items()
        for dialect, words in dialects.items()
        for word in words
    ],
)
def test_each_word_of_each_dialect_has_a_state(dialect: Dialect, word: str, state: BatchState) -> None:
    assert dialect.read({"id": "b", "status": word}).state is state


@pytest.mark.parametrize(
    ("dialect", "members", "problem"),
    [
        (OPENAI, {"errors": {"data": [{"code": "x", "message": "y", "line": 3}]}}, ("x", "y", 3)),
        (MISTRAL, {"errors": [{"message": "y", "count": 2}]}, ("", "y", None)),
        (TOGETHER, {"error": "y"}, ("", "y", None)),
    ],
)
def test_the_reasons_of_a_refusal_are_read(
    dialect: Dialect, members: Mapping[str, Any], problem: tuple[str, str, int | None]
) -> None:
    (found,) = dialect.read({"id": "b", "status": "failed", **members}).problems
    assert (found.code, found.message, found.line) == problem


@pytest.mark.parametrize(
    ("dialect", "output"),
    [(OPENAI, "output_file_id"), (MISTRAL, "output_file"), (TOGETHER, "output_file_id")],
)
def test_a_batch_that_failed_after_its_start_has_ended(dialect: Dialect, output: str) -> None:
    batch = dialect.read({"id": "b", "status": "FAILED", output: "file-out"})
    assert (batch.state, batch.output_files) == (ENDED, ("file-out",))


@pytest.mark.parametrize(
    ("status", "processed"),
    [
        ("uploaded", False),
        ("Pending", False),
        ("running", False),
        ("processed", True),
        ("error", True),
        (None, True),
    ],
)
def test_files_of_azure_are_processed_first(status: str | None, processed: bool) -> None:
    assert is_processed({"id": "file-1", "status": status}) is processed


def test_the_name_of_a_file_has_the_marks_of_its_batch() -> None:
    part = Part(12, 2, 100, "d" * 32, "/chat/completions", "m", "https://batches.test/v1")
    assert marks_in_name(file_name("a-run", part)) == batch_marks("a-run", part)
    assert marks_in_name("headrace-notes.jsonl") == marks_in_name("") == {}


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ({"response": {"status_code": 200, "body": {}}, "error": None}, 200, "no reason"),
        ({"response": None, "error": {"code": "batch_expired", "message": "late"}}, None, "late"),
        ({"response": None, "error": {"code": 500}}, None, '{"code":500}'),
        ({"response": {"status_code": 429, "body": None}, "error": "rate limited"}, 429, "rate limited"),
        ({"error": ["a", 1]}, None, '["a",1]'),
        ({"response": {}}, None, "no reason"),
    ],
)
def test_reasons_of_any_form_are_read(line: dict[str, Any], status: int | None, reason: str) -> None:
    found = read_result_line(json.dumps({"custom_id": "r1", **line}).encode())
    assert found is not None
    assert (found.status, found.reason) == (status, reason)
    assert (b"rate limited" in found.body) is (status == 429)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(error=JSON | st.fixed_dictionaries({"message": JSON, "code": JSON}))
def test_no_form_of_an_error_loses_a_row(error: Any) -> None:
    found = read_result_line(json.dumps({"custom_id": "r1", "response": None, "error": error}).encode())
    assert found is not None
    assert isinstance(found.reason, str)
    assert found.reason
