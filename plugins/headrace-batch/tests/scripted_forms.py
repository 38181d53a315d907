"""The forms in which providers speak about files and batches, from the server's side.

They are written from the public references of the providers: the types of their official SDKs and their
OpenAPI documents, and Microsoft's how-to for batches.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import anyio
import attrs
import msgspec

import headrace

PATHS = ("/chat/completions", "/completions", "/embeddings", "/responses")
Query = Mapping[str, list[str]]


class Refused(Exception):
    """A request is not valid."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


@attrs.define
class File:
    """A file. ``ready_from``: since when a batch may be created of it."""

    id: str
    name: str
    content: bytes
    purpose: str
    created: float
    listed_from: float
    ready_from: float
    deleted: bool = False


@attrs.define
class Batch:
    """A batch; ``status`` is OpenAI's word."""

    id: str
    file: File
    url: str
    metadata: dict[str, str]
    created: float
    status: str = "in_progress"
    ended: float | None = None
    output: str | None = None
    errors: str | None = None
    counts: dict[str, int] = attrs.field(factory=dict)
    problems: list[dict[str, Any]] = attrs.field(factory=list)


@attrs.define
class Upload:
    """The form of an upload."""

    fields: dict[str, str]
    filename: str
    content: bytes

    @classmethod
    def read(cls, form: bytes) -> Upload:
        before, _, rest = form.partition(b"Content-Type: application/jsonl\r\n\r\n")
        name = re.search(rb'filename="([^"]*)"', before)
        assert name is not None
        fields = re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n', before.decode())
        return cls(dict(fields), name[1].decode(), rest.rpartition(b"\r\n--headrace")[0])


def require(condition: object, message: str, status: int = 400, param: str | None = None) -> None:
    """Refuse a request unless a condition holds."""
    if not condition:
        raise Refused(status, message, param)


class OpenAIForm:
    """OpenAI's form, from the types of its SDK: ``Batch``, ``FileObject``, pages with ``after``."""

    endpoint = headrace.Endpoint("https://batches.test/v1")
    jobs = "/batches"
    upload_path = "/files"
    file_id, batch_id = "file-{}", "batch-{}"
    processing = 0.0
    fails_fast = False
    url_prefix = "/v1"
    page_size: ClassVar[int] = 3
    words: ClassVar[Mapping[str, str]] = {}

    def check(self, query: Query) -> None:
        """Refuse a request whose query lacks something."""

    def upload(self, form: bytes) -> tuple[str, str, bytes]:
        """The name, the purpose and the content of an upload."""
        upload = Upload.read(form)
        require(upload.fields == {"purpose": "batch"}, "Invalid value for 'purpose'.", param="purpose")
        return upload.filename, "batch", upload.content

    def requested(self, body: Mapping[str, Any]) -> tuple[str, str, dict[str, str]]:
        """The file, the url and the metadata of a create."""
        known = {"input_file_id", "endpoint", "completion_window", "metadata"}
        require(set(body) <= known, "Unknown parameter.")
        require(body["completion_window"] == "24h", "Invalid value.", param="completion_window")
        return body["input_file_id"], body["endpoint"], body.get("metadata") or {}

    def check_line(self, line: Mapping[str, Any], url: str) -> None:
        """Refuse a line of a file."""
        require(line.get("method") == "POST", "Missing method.")
        require(line.get("url") == url, "mismatched url")

    def file(self, file: File) -> dict[str, Any]:
        return {
            "id": file.id,
            "object": "file",
            "bytes": len(file.content),
            "created_at": int(file.created),
            "filename": file.name,
            "purpose": file.purpose,
            "status": "processed",
            "status_details": None,
        }

    def retrieved(self, file: File) -> dict[str, Any]:
        """The answer to a request for one file."""
        return self.file(file)

    def word(self, status: str) -> str:
        return self.words.get(status, status)

    def time(self, at: float | None) -> Any:
        return None if at is None else int(at)

    def batch(self, batch: Batch) -> dict[str, Any]:
        ended = {"completed": "completed_at", "expired": "expired_at", "cancelled": "cancelled_at"}
        counts = {"total": batch.file.content.count(b"\n"), "completed": 0, "failed": 0, **batch.counts}
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.url,
            "completion_window": "24h",
            "status": self.word(batch.status),
            "input_file_id": batch.file.id,
            "output_file_id": batch.output,
            "error_file_id": batch.errors,
            "request_counts": counts,
            "metadata": batch.metadata or None,
            "created_at": self.time(batch.created),
            **{name: self.time(batch.ended) if batch.status == end else None for end, name in ended.items()},
            "errors": {"object": "list", "data": batch.problems} if batch.problems else None,
        }

    def created(self, batch: Batch) -> Any:
        """The answer to a create."""
        return self.batch(batch)

    def page(self, newest_first: Sequence[dict[str, Any]], query: Query) -> Any:
        """A page of files or of batches."""
        objects, after = list(newest_first), query.get("after", [""])[0]
        if after:
            ids = [each["id"] for each in objects]
            require(after in ids, "no such object", param="after")
            objects = objects[ids.index(after) + 1 :]
        more = len(objects) > self.page_size
        return {"object": "list", "data": objects[: self.page_size], "has_more": more}

    def files(self, newest_first: Sequence[dict[str, Any]], query: Query) -> Any:
        require(query.get("purpose") == ["batch"], "Lists everything.")
        return self.page(newest_first, query)

    def error_line(self, id: str, code: str) -> dict[str, Any]:
        """The result of a row that was not executed."""
        return {"custom_id": id, "response": None, "error": {"code": code, "message": f"{code}."}}

    def refusal(self, refused: Refused) -> Any:
        """The body of a refusal."""
        return {"error": {"message": str(refused), "param": refused.param, "type": "invalid_request_error"}}


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


def json_reply(status: int, body: Any) -> headrace.Reply:
    """A reply with JSON."""
    headers = headrace.Headers([(b"content-type", b"application/json")])
    return headrace.Reply(status, headers, msgspec.json.encode(body))
