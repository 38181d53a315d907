"""The dialects: how endpoints with batches differ in paths, in requests, and in the members of their objects.

They are written from the public references; `dialect_of` knows them by the hosts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from headrace import Endpoint
from headrace_batch.dialect import BatchView, Dialect, NoBatchesError, batch_view


def _create_openai(file: str, url: str, model: str | None, marks: Mapping[str, str]) -> dict[str, Any]:
    return {
        "input_file_id": file,
        "endpoint": url,
        "completion_window": "24h",
        "metadata": dict(marks),
    }


def _create_mistral(file: str, url: str, model: str | None, marks: Mapping[str, str]) -> dict[str, Any]:
    return {"input_files": [file], "endpoint": url, "model": model, "metadata": dict(marks)}


def _create_together(file: str, url: str, model: str | None, marks: Mapping[str, str]) -> dict[str, Any]:
    return {"input_file_id": file, "endpoint": url, "completion_window": "24h"}


def _read_openai(body: Mapping[str, Any]) -> BatchView:
    counts = body.get("request_counts") or {}
    return batch_view(
        body,
        input_file=body.get("input_file_id"),
        output_files=(body.get("output_file_id"), body.get("error_file_id")),
        counts=(counts.get("total"), counts.get("completed"), counts.get("failed")),
        ended=(body.get(name) for name in ("completed_at", "expired_at", "cancelled_at")),
        problems=(body.get("errors") or {}).get("data"),
    )


def _read_mistral(body: Mapping[str, Any]) -> BatchView:
    return batch_view(
        body,
        input_file=next(iter(body.get("input_files") or ()), None),
        output_files=(body.get("output_file"), body.get("error_file")),
        counts=(body.get("total_requests"), body.get("succeeded_requests"), body.get("failed_requests")),
        ended=[body.get("completed_at")],
        problems=body.get("errors"),
    )


def _read_together(body: Mapping[str, Any]) -> BatchView:
    return batch_view(
        body,
        input_file=body.get("input_file_id"),
        output_files=(body.get("output_file_id"), body.get("error_file_id")),
        counts=(None, None, None),
        ended=[body.get("completed_at")],
        problems=[{"message": body["error"]}] if body.get("error") else (),
    )


OPENAI = Dialect(
    name="OpenAI",
    line={"method": "POST"},
    create=_create_openai,
    read=_read_openai,
    page=lambda number, after: f"limit=100{'' if after is None else f'&after={after}'}",
)
AZURE_V1 = attrs.evolve(OPENAI, name="Azure", processes_files=True)
"""Azure at ``/openai/v1``."""
AZURE = attrs.evolve(AZURE_V1, url_prefix="")
"""Azure with ``api-version``."""
MISTRAL = Dialect(
    name="Mistral",
    jobs_path="/batch/jobs",
    create=_create_mistral,
    read=_read_mistral,
    page=lambda number, after: f"page={number}&page_size=100",
    pages_have_no_end=True,
)
TOGETHER = Dialect(
    name="Together",
    upload_path="/files/upload",
    upload_fields=lambda name: {"purpose": "batch-api", "file_name": name, "file_type": "jsonl"},
    list_files="",
    create=_create_together,
    created_in="job",
    read=_read_together,
    has_metadata=False,
    page=lambda number, after: "",
)

_AZURE_HOST = re.compile(
    r".+\.(openai\.azure|cognitiveservices\.azure|services\.ai\.azure)\.(com|us|cn)", re.ASCII
)
_DIALECTS = {
    "api.mistral.ai": MISTRAL,
    "api.together.ai": TOGETHER,
    "api.together.xyz": TOGETHER,
}
_OTHER_FORMS = {
    "api.anthropic.com": "are made of its own message format",
    "generativelanguage.googleapis.com": "need files that its OpenAI-compatible path does not take",
    "api.fireworks.ai": "are made of its datasets",
    "openrouter.ai": "are made without files",
}
"""Hosts with batches that are not made of files with OpenAI's requests."""


def dialect_of(endpoint: Endpoint) -> Dialect:
    """The dialect of an endpoint, by its host: OpenAI's unless it is known to be another one.

    Raises:
        NoBatchesError: The host is known to have none that headrace can make, or they are at another URL.
    """
    parts = urlsplit(endpoint.base_url)
    host, folders = parts.hostname or "", parts.path.split("/")
    if host in _OTHER_FORMS:
        raise NoBatchesError(
            f"headrace cannot make batches at {host}: they {_OTHER_FORMS[host]}; leave out engine=, and the "
            "calls are made at once"
        )
    if not _AZURE_HOST.fullmatch(host):
        return _DIALECTS.get(host, OPENAI)
    if "deployments" in folders:
        raise NoBatchesError(
            f"{endpoint.base_url} is one deployment, and Azure's batches are beside the deployments; use "
            f"base_url='https://{host}/openai' and path='/deployments/{{model}}{{path}}'"
        )
    return AZURE_V1 if "v1" in folders else AZURE
