"""The form in which OpenAI speaks about files and batches, from the server's side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

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


def json_reply(status: int, body: Any) -> headrace.Reply:
    """A reply with JSON."""
    headers = headrace.Headers([(b"content-type", b"application/json")])
    return headrace.Reply(status, headers, msgspec.json.encode(body))
