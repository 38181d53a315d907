"""What differs between endpoints with batches, and a batch as they show it."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from headrace import HeadraceError


class NoBatchesError(HeadraceError):
    """The endpoint has no batches, or none that headrace can make."""


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
        endpoint: The path of the API for its requests, as the endpoint writes it; empty if it does not say.
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
    endpoint: str
    output_files: tuple[str, ...]
    total: int | None
    finished: int | None
    problems: tuple[BatchProblem, ...]
    metadata: Mapping[str, str]
    seconds: float | None


_STATES = {
    "validating": BatchState.RUNNING,
    "queued": BatchState.RUNNING,
    "running": BatchState.RUNNING,
    "inprogress": BatchState.RUNNING,
    "finalizing": BatchState.RUNNING,
    "cancelling": BatchState.RUNNING,
    "cancellationrequested": BatchState.RUNNING,
    "completed": BatchState.ENDED,
    "success": BatchState.ENDED,
    "expired": BatchState.ENDED,
    "timeoutexceeded": BatchState.ENDED,
    "cancelled": BatchState.ENDED,
    "canceled": BatchState.ENDED,
    "failed": BatchState.REFUSED,
}
"""The words of all dialects, in lower case and without underscores: Azure also writes ``InProgress``."""

_UNPROCESSED = {"uploaded", "pending", "running", "notrunning"}
"""The words of Azure for a file that no batch can be created of yet."""


@attrs.frozen(kw_only=True, eq=False)
class Dialect:
    """One way to speak about batches.

    Attributes:
        name: For messages.
        jobs_path: The path of the batches.
        upload_path: The path to which files are uploaded.
        upload_fields: The fields of an upload besides the file, of the file's name.
        list_files: The query that lists the files of batches.
        url_prefix: What comes before the path of the API in a line's ``url``.
        line: The members of a line besides ``custom_id`` and ``body``; ``url`` is added.
        create: The body that creates a batch, of the file, the url, the model and the marks.
        created_in: The member of the answer to a create that has the batch; None if the answer is the batch.
        read: A batch from its JSON.
        has_metadata: Whether batches keep the marks. If not, the name of their file has them.
        processes_files: Whether a batch can be created only some time after the upload.
        page: The query of a page of a list, of the number of the page and the last id of the page before.
        pages_have_no_end: Whether a page does not say if another one follows.
    """

    name: str
    jobs_path: str = "/batches"
    upload_path: str = "/files"
    upload_fields: Callable[[str], Mapping[str, str]] = lambda name: {"purpose": "batch"}
    list_files: str = "purpose=batch"
    url_prefix: str = "/v1"
    line: Mapping[str, str] = {}
    create: Callable[[str, str, str | None, Mapping[str, str]], dict[str, Any]]
    created_in: str | None = None
    read: Callable[[Mapping[str, Any]], BatchView]
    has_metadata: bool = True
    processes_files: bool = False
    page: Callable[[int, str | None], str]
    pages_have_no_end: bool = False


def batch_view(
    body: Mapping[str, Any],
    *,
    input_file: str | None,
    output_files: Iterable[str | None],
    counts: tuple[int | None, int | None, int | None],
    ended: Iterable[Any],
    problems: Iterable[Any] | None,
) -> BatchView:
    """A batch from what all dialects have alike, and from the members that each calls in its own way."""
    word = str(body.get("status"))
    files = tuple(file for file in output_files if file)
    state = _STATES.get(word.lower().replace("_", ""), BatchState.RUNNING)
    if state is BatchState.REFUSED and files:
        state = BatchState.ENDED  # it failed after its start, and what it has answered is paid
    total, succeeded, failed = counts
    began, end = _time(body.get("created_at")), next(filter(None, map(_time, ended)), None)
    return BatchView(
        id=str(body["id"]),
        state=state,
        word=word.lower(),
        input_file=input_file,
        endpoint=str(body.get("endpoint") or ""),
        output_files=files,
        total=total,
        finished=None if succeeded is None else succeeded + (failed or 0),
        problems=tuple(_problems(problems)),
        metadata={str(name): str(value) for name, value in (body.get("metadata") or {}).items()},
        seconds=None if began is None or end is None else max(0.0, end - began),
    )


def _time(value: Any) -> float | None:
    """A time in seconds, from a number or from a text like ``2026-01-31T08:00:00Z``."""
    if isinstance(value, str):
        try:
            return datetime.datetime.fromisoformat(value).timestamp()
        except ValueError:
            return None
    return float(value) if isinstance(value, (int, float)) else None


def _problems(found: Iterable[Any] | None) -> Iterable[BatchProblem]:
    for each in found or ():
        if isinstance(each, Mapping):
            code, message = str(each.get("code") or ""), str(each.get("message") or "no reason")
            yield BatchProblem(code, message, each.get("line"))


def api_path(url: str) -> str:
    """The path of the API in the ``url`` of a line or of a batch; Azure also takes it without ``/v1``."""
    return url.removeprefix("/v1")


def is_processed(file: Mapping[str, Any]) -> bool:
    """Whether a batch can be created of a file, by its JSON. One with an error counts: a create names it."""
    return str(file.get("status")).lower() not in _UNPROCESSED
