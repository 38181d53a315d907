"""How endpoints with batches differ: their paths, their states, and the members of their objects."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from headrace import Endpoint


class BatchState(enum.Enum):
    """What the state of a batch means for its rows."""

    RUNNING = enum.auto()
    ENDED = enum.auto()
    REFUSED = enum.auto()


@attrs.frozen
class BatchProblem:
    """Why an endpoint refused a batch: a code, a message, and the line of the file if it names one."""

    code: str
    message: str
    line: int | None = None


@attrs.frozen(kw_only=True)
class BatchView:
    """A batch as an endpoint shows it.

    Attributes:
        id: Its id.
        state: What its state means.
        word: The endpoint's own word for the state.
        input_file: The file with the requests.
        output_files: The files with the results; of both kinds.
        total: How many requests it has; None if unknown.
        finished: How many of them are answered or have failed; None if unknown.
        problems: Why it was refused.
        metadata: The marks that its creator set.
        seconds: How long it took; None while it runs.
    """

    id: str
    state: BatchState
    word: str
    input_file: str | None
    output_files: tuple[str, ...]
    total: int | None
    finished: int | None
    problems: tuple[BatchProblem, ...]
    metadata: Mapping[str, str]
    seconds: float | None


_OPENAI_STATES = {
    "validating": BatchState.RUNNING,
    "in_progress": BatchState.RUNNING,
    "finalizing": BatchState.RUNNING,
    "cancelling": BatchState.RUNNING,
    "completed": BatchState.ENDED,
    "expired": BatchState.ENDED,
    "cancelled": BatchState.ENDED,
    "failed": BatchState.REFUSED,
}
_MISTRAL_STATES = {
    "QUEUED": BatchState.RUNNING,
    "RUNNING": BatchState.RUNNING,
    "CANCELLATION_REQUESTED": BatchState.RUNNING,
    "SUCCESS": BatchState.ENDED,
    "TIMEOUT_EXCEEDED": BatchState.ENDED,
    "CANCELLED": BatchState.ENDED,
    "FAILED": BatchState.REFUSED,
}


@attrs.frozen(kw_only=True)
class Dialect:
    """One way to speak about batches.

    Attributes:
        name: For messages.
        jobs_path: The path of the batches.
        url_prefix: What comes before the path of the API in a line's ``url``.
        line: The members of a line besides ``custom_id`` and ``body``; ``url`` is added.
        create: The body that creates a batch, of the file, the url, the model and the marks.
        read: A batch from its JSON.
        page: The query of a page of a list, of the number of the page and the last id of the page before.
        pages_have_no_end: Whether a page does not say if another one follows.
    """

    name: str
    jobs_path: str
    url_prefix: str
    line: Mapping[str, str]
    create: Callable[[str, str, str | None, Mapping[str, str]], dict[str, Any]]
    read: Callable[[Mapping[str, Any]], BatchView]
    page: Callable[[int, str | None], str]
    pages_have_no_end: bool = False


def _create_openai(file: str, url: str, model: str | None, marks: Mapping[str, str]) -> dict[str, Any]:
    return {
        "input_file_id": file,
        "endpoint": url,
        "completion_window": "24h",
        "metadata": dict(marks),
    }


def _read_openai(body: Mapping[str, Any]) -> BatchView:
    counts = body.get("request_counts") or {}
    finished = None
    if isinstance(counts.get("completed"), int):
        finished = counts["completed"] + (counts.get("failed") or 0)
    ended = next(
        (at for name in ("completed_at", "expired_at", "cancelled_at") if (at := body.get(name))), None
    )
    word = str(body.get("status"))
    return BatchView(
        id=str(body["id"]),
        state=_OPENAI_STATES.get(word, BatchState.RUNNING),
        word=word,
        input_file=body.get("input_file_id"),
        output_files=tuple(body[name] for name in ("output_file_id", "error_file_id") if body.get(name)),
        total=counts.get("total"),
        finished=finished,
        problems=_problems((body.get("errors") or {}).get("data")),
        metadata=body.get("metadata") or {},
        seconds=None if ended is None else max(0.0, float(ended - (body.get("created_at") or ended))),
    )


def _create_mistral(file: str, url: str, model: str | None, marks: Mapping[str, str]) -> dict[str, Any]:
    return {"input_files": [file], "endpoint": url, "model": model, "metadata": dict(marks)}


def _read_mistral(body: Mapping[str, Any]) -> BatchView:
    succeeded, failed = body.get("succeeded_requests"), body.get("failed_requests")
    word = str(body.get("status"))
    began, ended = body.get("created_at"), body.get("completed_at")
    return BatchView(
        id=str(body["id"]),
        state=_MISTRAL_STATES.get(word, BatchState.RUNNING),
        word=word.lower(),
        input_file=next(iter(body.get("input_files") or ()), None),
        output_files=tuple(body[name] for name in ("output_file", "error_file") if body.get(name)),
        total=body.get("total_requests"),
        finished=None if succeeded is None else succeeded + (failed or 0),
        problems=_problems(body.get("errors")),
        metadata=body.get("metadata") or {},
        seconds=None if not began or not ended else max(0.0, float(ended - began)),
    )


def _problems(found: Any) -> tuple[BatchProblem, ...]:
    return tuple(
        BatchProblem(str(each.get("code") or ""), str(each.get("message") or "no reason"), each.get("line"))
        for each in found or ()
        if isinstance(each, Mapping)
    )


OPENAI = Dialect(
    name="OpenAI",
    jobs_path="/batches",
    url_prefix="/v1",
    line={"method": "POST"},
    create=_create_openai,
    read=_read_openai,
    page=lambda number, after: f"limit=100{'' if after is None else f'&after={after}'}",
)
AZURE = attrs.evolve(OPENAI, name="Azure", url_prefix="")
MISTRAL = Dialect(
    name="Mistral",
    jobs_path="/batch/jobs",
    url_prefix="/v1",
    line={},
    create=_create_mistral,
    read=_read_mistral,
    page=lambda number, after: f"page={number}&page_size=100",
    pages_have_no_end=True,
)


def dialect_of(endpoint: Endpoint) -> Dialect:
    """The dialect of an endpoint, by its host: OpenAI's unless it is known to be another one."""
    parts = urlsplit(endpoint.base_url)
    host = parts.hostname or ""
    if host == "api.mistral.ai":
        return MISTRAL
    # The newer /openai/v1 of Azure speaks as OpenAI does.
    if host.endswith((".openai.azure.com", ".cognitiveservices.azure.com")) and "/v1" not in parts.path:
        return AZURE
    return OPENAI
