"""The forms in which other providers speak about files and batches, from the server's side.

They are written from the public references of the providers: the types of their official SDKs and their
OpenAPI documents, and Microsoft's how-to for batches.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import anyio

import headrace
from scripted_forms import Batch, File, OpenAIForm, Query, Refused, Upload, require


class AzureV1Form(OpenAIForm):
    """Azure at ``/openai/v1``: times are text, words have capitals, and files are processed first.

    It "fails fast": a batch for which there is no room is not created.
    """

    endpoint = headrace.Endpoint("https://shop.openai.azure.com/openai/v1", "key", key_header="api-key")
    processing = 12.0
    fails_fast = True
    words: ClassVar[Mapping[str, str]] = {"in_progress": "InProgress", "completed": "Completed"}

    def time(self, at: float | None) -> Any:
        if at is None:
            return None
        return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="microseconds")

    def batch(self, batch: Batch) -> dict[str, Any]:
        shown = super().batch(batch)
        if not batch.counts:
            shown["request_counts"] = {"total": None, "completed": None, "failed": None}
        return shown

    def file(self, file: File) -> dict[str, Any]:
        ready = file.ready_from <= anyio.current_time()
        return {**super().file(file), "status": "processed" if ready else "pending"}

    def files(self, newest_first: Sequence[dict[str, Any]], query: Query) -> Any:
        return {"object": "list", "data": list(newest_first)}  # it has no pages of files


class AzureForm(AzureV1Form):
    """Azure with deployments and ``api-version``."""

    endpoint = headrace.Endpoint(
        "https://shop.openai.azure.com/openai",
        "key",
        path="/deployments/{model}{path}",
        query={"api-version": "2024-10-21"},
        key_header="api-key",
    )
    url_prefix = ""

    def check(self, query: Query) -> None:
        require(query.get("api-version") == ["2024-10-21"], "Resource not found", 404)


class MistralForm(OpenAIForm):
    """Mistral: ``BatchJob``, ``ListBatchJobsResponse`` and ``FileSchema`` of its SDK; numbered pages."""

    endpoint = headrace.Endpoint("https://api.mistral.ai/v1", "key")
    jobs = "/batch/jobs"
    file_id, batch_id = "00000000-0000-4000-8000-{:012}", "11111111-0000-4000-8000-{:012}"
    words: ClassVar[Mapping[str, str]] = {
        "in_progress": "RUNNING",
        "cancelling": "CANCELLATION_REQUESTED",
        "completed": "SUCCESS",
        "expired": "TIMEOUT_EXCEEDED",
        "cancelled": "CANCELLED",
        "failed": "FAILED",
    }

    def requested(self, body: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
        known = {"input_files", "endpoint", "model", "metadata", "timeout_hours"}
        require(set(body) <= known, "Extra inputs are not permitted", 422)
        require(body.get("model"), "model is required", 422)
        metadata = body.get("metadata") or {}
        require(all(len(key) <= 32 and 0 < len(value) <= 512 for key, value in metadata.items()), "long", 422)
        (file,) = body["input_files"]
        return file, body["endpoint"], metadata

    def check_line(self, line: Mapping[str, Any], url: str) -> None:
        require(set(line) == {"custom_id", "body"}, "Extra inputs are not permitted", 422)

    def file(self, file: File) -> dict[str, Any]:
        shown = {name: value for name, value in super().file(file).items() if not name.startswith("status")}
        return {**shown, "sample_type": "batch_request", "source": "upload", "num_lines": None}

    def retrieved(self, file: File) -> dict[str, Any]:
        return {**self.file(file), "deleted": file.deleted}

    def batch(self, batch: Batch) -> dict[str, Any]:
        counts = {"completed": 0, "failed": 0, **batch.counts}
        return {
            "id": batch.id,
            "object": "batch",
            "input_files": [batch.file.id],
            "endpoint": batch.url,
            "model": "m",
            "metadata": batch.metadata,
            "output_file": batch.output,
            "error_file": batch.errors,
            "errors": [{"message": each["message"], "count": 1} for each in batch.problems],
            "status": self.word(batch.status),
            "created_at": int(batch.created),
            "started_at": int(batch.created),
            "completed_at": None if batch.ended is None else int(batch.ended),
            "total_requests": batch.file.content.count(b"\n"),
            "completed_requests": counts["completed"] + counts["failed"],
            "succeeded_requests": counts["completed"],
            "failed_requests": counts["failed"],
        }

    def page(self, newest_first: Sequence[dict[str, Any]], query: Query) -> Any:
        begin = int(query.get("page", ["0"])[0]) * self.page_size
        data = list(newest_first[begin : begin + self.page_size])
        return {"object": "list", "data": data, "total": len(newest_first)}

    def error_line(self, id: str, code: str) -> dict[str, Any]:
        return {"custom_id": id, "response": {"status_code": 429, "body": None}, "error": f"{code}."}

    def refusal(self, refused: Refused) -> Any:
        return {"object": "error", "message": str(refused), "type": "invalid_request_error", "code": None}


class TogetherForm(OpenAIForm):
    """Together: ``BatchJob`` of its SDK and its OpenAPI; no metadata, no counts, no pages."""

    endpoint = headrace.Endpoint("https://api.together.ai/v1", "key")
    upload_path = "/files/upload"
    batch_id = "22222222-0000-4000-8000-{:012}"
    words: ClassVar[Mapping[str, str]] = {"cancelling": "IN_PROGRESS"}

    def word(self, status: str) -> str:
        return super().word(status).upper()

    def upload(self, form: bytes) -> tuple[str, str, bytes]:
        upload = Upload.read(form)
        require(upload.fields.get("purpose") == "batch-api", "invalid purpose")
        require(upload.fields.get("file_type") == "jsonl", "invalid file_type")
        return upload.fields["file_name"], "batch-api", upload.content

    def requested(self, body: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
        require(set(body) <= {"input_file_id", "endpoint", "completion_window"}, "unknown field")
        return body["input_file_id"], body["endpoint"], {}

    def check_line(self, line: Mapping[str, Any], url: str) -> None:
        require(set(line) == {"custom_id", "body"}, "unknown field")

    def file(self, file: File) -> dict[str, Any]:
        shown = {name: value for name, value in super().file(file).items() if not name.startswith("status")}
        return {**shown, "FileType": "jsonl", "Processed": True, "LineCount": file.content.count(b"\n")}

    def time(self, at: float | None) -> Any:
        if at is None:
            return None
        return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat().replace("+00:00", "Z")

    def batch(self, batch: Batch) -> dict[str, Any]:
        shown = {
            "id": batch.id,
            "user_id": "user",
            "input_file_id": batch.file.id,
            "file_size_bytes": len(batch.file.content),
            "status": self.word(batch.status),
            "created_at": self.time(batch.created),
            "endpoint": batch.url,
            "progress": 100.0 if batch.ended else 0.0,
            "model_id": "m",
            "output_file_id": batch.output,
            "error_file_id": batch.errors,
            "error": batch.problems[0]["message"] if batch.problems else None,
            "completed_at": self.time(batch.ended),
        }
        return {name: value for name, value in shown.items() if value is not None}

    def created(self, batch: Batch) -> Any:
        return {"job": self.batch(batch)}

    def page(self, newest_first: Sequence[dict[str, Any]], query: Query) -> Any:
        return list(newest_first)

    def files(self, newest_first: Sequence[dict[str, Any]], query: Query) -> Any:
        return {"data": list(newest_first)}

    def error_line(self, id: str, code: str) -> dict[str, Any]:
        return {"custom_id": id, "error": {"message": f"{code}.", "code": 500}}

    def refusal(self, refused: Refused) -> Any:
        return {"error": str(refused)}


OTHER_FORMS = [AzureV1Form(), AzureForm(), MistralForm(), TogetherForm()]
