"""The routes of files."""

import re
from collections.abc import Mapping

import msgspec

from headrace.testing.server.batches.counts import BatchCounts
from headrace.testing.server.batches.files import FileStore, StoredFile
from headrace.testing.server.batches.listing import list_page
from headrace.testing.server.batches.upload import Upload
from headrace.testing.server.response_plan import RejectedRequest, ResponsePlan
from headrace.testing.server.stored_content import ContentRange

JSON = {"content-type": "application/json"}
SHORTEST_LIFETIME, LONGEST_LIFETIME = 60 * 60, 30 * 24 * 60 * 60
"""The limits of ``expires_after``, in seconds."""

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def create_file(upload: Upload, files: FileStore, counts: BatchCounts, now: float) -> ResponsePlan:
    """Keep an uploaded file; raises `RejectedRequest` if its fields are invalid."""
    fields = upload.fields
    if "purpose" not in fields:
        raise RejectedRequest(400, "Missing required parameter: 'purpose'.", param="purpose")
    if fields["purpose"] != "batch":
        message = f"Invalid value: '{fields['purpose']}'. This endpoint takes files for 'batch' only."
        raise RejectedRequest(400, message, param="purpose")
    if not upload.filename.endswith(".jsonl"):
        raise RejectedRequest(400, "Invalid file format for Batch API. Must be .jsonl", param="file")
    seconds = fields.get("expires_after[seconds]")
    file = files.add(
        upload.content, upload.filename, "batch", now, None if seconds is None else _lifetime(seconds)
    )
    counts.files += 1
    return ResponsePlan(headers=JSON, content=msgspec.json.encode(file.body()))


def list_files(files: FileStore, query: Mapping[str, str], now: float) -> ResponsePlan:
    """A page of the list of files; raises `RejectedRequest` if the query is invalid."""
    purpose = query.get("purpose")
    listed = [file for file in files.listed(now) if purpose in (None, file.purpose)]
    return ResponsePlan(headers=JSON, content=list_page(listed, query, limit=10_000, most=10_000))


def show_file(file: StoredFile) -> ResponsePlan:
    """The members of a file."""
    return ResponsePlan(headers=JSON, content=msgspec.json.encode(file.body()))


def delete_file(id: str, files: FileStore, now: float) -> ResponsePlan:
    """Delete a file; raises `RejectedRequest` if there is none."""
    files.delete(id, now)
    deleted = {"id": id, "object": "file", "deleted": True}
    return ResponsePlan(headers=JSON, content=msgspec.json.encode(deleted))


def download_file(file: StoredFile, headers: Mapping[str, str]) -> ResponsePlan:
    """The content of a file, or the part of it that the request's ``range`` asks for.

    Args:
        file: The file.
        headers: The headers of the request.

    Raises:
        RejectedRequest: The part is outside the file. Status 416.
    """
    content, size = file.content, len(file.content)
    answered = {"content-type": "application/octet-stream", "accept-ranges": "bytes"}
    asked = _RANGE.fullmatch(headers.get("range", ""))
    if asked is None or not any(asked.groups()):
        return ResponsePlan(headers=answered, stored=ContentRange(content, 0, size))
    first, last = asked.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        message = f"The range {asked[0]} is outside the file, which is {size} bytes long."
        raise RejectedRequest(416, message, headers={"content-range": f"bytes */{size}"})
    answered["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    return ResponsePlan(status=206, headers=answered, stored=ContentRange(content, start, stop))


def _lifetime(seconds: str) -> int:
    if not (seconds.isascii() and seconds.isdigit()):
        raise RejectedRequest(
            400, "Invalid 'expires_after': 'seconds' must be an integer.", param="expires_after"
        )
    if not SHORTEST_LIFETIME <= int(seconds) <= LONGEST_LIFETIME:
        message = f"Invalid 'expires_after': 'seconds' must be {SHORTEST_LIFETIME} to {LONGEST_LIFETIME}."
        raise RejectedRequest(400, message, param="expires_after")
    return int(seconds)
