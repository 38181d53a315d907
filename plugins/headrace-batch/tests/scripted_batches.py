"""An endpoint with files and batches in memory, on the clock of the event loop, with accidents by number."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.lowlevel
import attrs
import msgspec

from headrace import Call, ConnectError, Headers, Reply

Accident: TypeAlias = Literal["kill_before", "kill_after", "lost_before", "lost_after", "late", "500_before"]
"""What happens to a request: the process is killed, the connection is lost, the request arrives only later,
or it is refused; before the endpoint has processed it, or after."""

BATCH_TIME, LATENESS = 100.0, 20.0
"""Seconds of a batch, and seconds by which a late request is late."""


class Killed(BaseException):
    """The process is killed."""


@attrs.define
class _File:
    id: str
    name: str
    content: bytes
    listed_from: float
    deleted: bool = False


@attrs.define
class _Batch:
    id: str
    file: _File
    metadata: dict[str, str]
    created: float
    status: str = "in_progress"
    output: str | None = None
    errors: str | None = None
    counts: dict[str, int] = attrs.field(factory=dict)
    problems: list[dict[str, Any]] = attrs.field(factory=list)


@attrs.define
class ScriptedBatches:
    """A transport to such an endpoint; it outlives clients that are killed.

    Attributes:
        accidents: What happens to a request, by its number.
        failures: The share of rows that fail or expire, in the first two batches of a row.
        max_requests: The most rows of a batch.
        max_bytes: The largest file of a batch.
        max_enqueued: The most rows of all batches that have not ended.
        rejects_n: Whether requests for several answers are not valid.
        refusal: The code with which all batches are refused.
        lines_of: Changes the files with results.
        listing_delay: Seconds until a file or batch is in the lists.
        seed: Of the failures.
        billed: How often each row was answered.
        batches: All batches.
    """

    accidents: Mapping[int, Accident] = attrs.field(factory=dict)
    failures: float = 0.0
    listing_delay: float = 0.0
    seed: int = 0
    max_requests: int = 1_000
    max_bytes: int = 1_000_000
    max_enqueued: int = 1_000
    rejects_n: bool = False
    refusal: str = ""
    lines_of: Any = None
    requests: int = 0
    billed: Counter[str] = attrs.field(factory=Counter)
    rounds: Counter[str] = attrs.field(factory=Counter)
    batches: dict[str, _Batch] = attrs.field(factory=dict)
    files: dict[str, _File] = attrs.field(factory=dict)
    _late: list[tuple[float, Call]] = attrs.field(factory=list)
    _ids: Any = attrs.field(factory=lambda: itertools.count(1))

    async def send(self, call: Call) -> Reply:
        """Make an attempt."""
        await anyio.lowlevel.checkpoint()
        number, self.requests = self.requests, self.requests + 1
        accident = self.accidents.get(number)
        self._move_on()
        if accident == "kill_before":
            raise Killed
        if accident == "lost_before":
            raise ConnectError("refused")
        if accident == "500_before":
            return _reply(500, {"error": {"message": "internal"}})
        lost = ConnectError("reset")
        lost.sent = True
        if accident == "late":
            call.content = call.content[: len(call.content)]  # the file may be closed by then
            self._late.append((anyio.current_time() + LATENESS, call))
            raise lost
        reply = self._process(call)
        if accident == "kill_after":
            raise Killed
        if accident == "lost_after":
            raise lost
        return reply

    async def aclose(self) -> None:
        """Nothing to close."""

    def _move_on(self) -> None:
        now = anyio.current_time()
        late, self._late = self._late, [each for each in self._late if each[0] > now]
        for at, call in late:
            if at <= now:
                self._process(call)
        for batch in self.batches.values():
            if batch.status == "cancelling" or (
                batch.status == "in_progress" and batch.created + BATCH_TIME <= now
            ):
                self._end(batch, cancelled=batch.status == "cancelling")

    def _end(self, batch: _Batch, *, cancelled: bool) -> None:
        output, errors = b"", b""
        for raw in batch.file.content.splitlines():
            line = msgspec.json.decode(raw)
            id = line["custom_id"]
            chance = random.Random(f"{self.seed} {batch.metadata} {id} {self.rounds[id]}").random()
            self.rounds[id] += 1
            if self.rejects_n and "n" in line["body"]:
                body = {"error": {"message": "unknown parameter n", "code": None}}
                result = {"custom_id": id, "response": {"status_code": 400, "body": body}, "error": None}
            elif cancelled:
                result = _error_line(id, "batch_cancelled")
            elif self.rounds[id] < 3 and chance < self.failures / 2:
                result = _error_line(id, "batch_expired")
            elif self.rounds[id] < 3 and chance < self.failures:
                body = {"error": {"message": "internal", "code": None}}
                result = {"custom_id": id, "response": {"status_code": 500, "body": body}, "error": None}
            else:
                self.billed[id] += 1
                output += msgspec.json.encode(_answer_line(id, line["body"])) + b"\n"
                continue
            errors += msgspec.json.encode(result) + b"\n"
        batch.status = "cancelled" if cancelled else "completed"
        if output:
            batch.output = self._add_file("output", output)
        if errors:
            batch.errors = self._add_file("errors", errors)
        batch.counts = {"completed": output.count(b"\n"), "failed": errors.count(b"\n")}
        if self.lines_of is not None:
            for id in filter(None, (batch.output, batch.errors)):
                self.files[id].content = self.lines_of(self.files[id].content)

    def _add_file(self, name: str, content: bytes) -> str:
        id = f"file-{next(self._ids)}"
        self.files[id] = _File(id, name, content, anyio.current_time() + self.listing_delay)
        return id

    def _process(self, call: Call) -> Reply:
        url = urlsplit(call.request.path)
        key = f"{call.request.method} {re.sub(r'(file|batch)-[0-9]+', 'ID', url.path)}"
        id = next(iter(re.findall(r"(?:file|batch)-[0-9]+", url.path)), "")
        handlers: dict[str, Any] = {
            "POST /files": self._upload,
            "GET /files": self._list_files,
            "DELETE /files/ID": self._delete,
            "GET /files/ID/content": self._content,
            "POST /batches": self._create,
            "GET /batches": self._list_batches,
            "GET /batches/ID": self._show,
            "POST /batches/ID/cancel": self._cancel,
            "POST /chat/completions": self._chat,
        }
        reply: Reply = handlers[key](call, id, parse_qs(url.query))
        return reply

    def _upload(self, call: Call, id: str, query: Any) -> Reply:
        form = call.content[: len(call.content)]
        name = re.search(rb'filename="([^"]*)"', form)
        assert name is not None
        content = form.partition(b"jsonl\r\n\r\n")[2].rpartition(b"\r\n--headrace")[0]
        return _reply(200, {"id": self._add_file(name[1].decode(), content), "object": "file"})

    def _list_files(self, call: Call, id: str, query: Any) -> Reply:
        now = anyio.current_time()
        shown = [each for each in self.files.values() if each.listed_from <= now and not each.deleted]
        return _page([{"id": each.id, "filename": each.name} for each in shown], query)

    def _delete(self, call: Call, id: str, query: Any) -> Reply:
        self.files[id].deleted = True
        return _reply(200, {"id": id, "deleted": True})

    def _content(self, call: Call, id: str, query: Any) -> Reply:
        return Reply(200, Headers([]), self.files[id].content)

    def _create(self, call: Call, id: str, query: Any) -> Reply:
        body = msgspec.json.decode(call.content)
        file = self.files.get(body["input_file_id"])
        if file is None or file.deleted:
            return _reply(400, {"error": {"message": "no such File object", "param": "input_file_id"}})
        batch = _Batch(f"batch-{next(self._ids)}", file, body["metadata"], anyio.current_time())
        rows = file.content.count(b"\n")
        if rows > self.max_requests:
            batch.status = "failed"
            batch.problems = [{"code": "too_many_tasks", "message": f"{rows} requests", "line": None}]
        if len(file.content) > self.max_bytes:
            batch.status = "failed"
            message = f"The batch input file is larger than {self.max_bytes} bytes"
            batch.problems = [{"code": "file_too_large", "message": message, "line": None}]
        enqueued = sum(
            each.file.content.count(b"\n") for each in self.batches.values() if each.status == "in_progress"
        )
        if enqueued + rows > self.max_enqueued:
            batch.status = "failed"
            batch.problems = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]
        if self.refusal:
            batch.status = "failed"
            batch.problems = [{"code": self.refusal, "message": "no"}]
        bad = [
            {"code": "invalid", "message": "bad row", "line": number}
            for number, line in enumerate(file.content.splitlines(), 1)
            if b"refuse me" in line
        ]
        if bad:
            batch.status, batch.problems = "failed", bad
        self.batches[batch.id] = batch
        return _reply(200, _shown(batch))

    def _list_batches(self, call: Call, id: str, query: Any) -> Reply:
        until = anyio.current_time() - self.listing_delay
        shown = [_shown(each) for each in self.batches.values() if each.created <= until]
        return _page(shown, query)

    def _show(self, call: Call, id: str, query: Any) -> Reply:
        return _reply(200, _shown(self.batches[id]))

    def _cancel(self, call: Call, id: str, query: Any) -> Reply:
        if self.batches[id].status == "in_progress":
            self.batches[id].status = "cancelling"
        return _reply(200, _shown(self.batches[id]))

    def _chat(self, call: Call, id: str, query: Any) -> Reply:
        body = msgspec.json.decode(call.content)
        self.billed[body["messages"][-1]["content"].split()[-1]] += 1
        return _reply(200, _completion(body))


def _shown(batch: _Batch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "status": batch.status,
        "input_file_id": batch.file.id,
        "output_file_id": batch.output,
        "error_file_id": batch.errors,
        "request_counts": batch.counts,
        "metadata": batch.metadata,
        "created_at": batch.created,
        "errors": {"data": batch.problems},
    }


def _page(oldest_first: list[dict[str, Any]], query: Mapping[str, list[str]]) -> Reply:
    objects = oldest_first[::-1]
    if "after" in query:
        ids = [each["id"] for each in objects]
        if query["after"][0] not in ids:
            return _reply(400, {"error": {"message": "no such object", "param": "after"}})
        objects = objects[ids.index(query["after"][0]) + 1 :]
    return _reply(200, {"data": objects[:3], "has_more": len(objects) > 3})


def _completion(body: Mapping[str, Any]) -> dict[str, Any]:
    text = body["messages"][-1]["content"]
    return {
        "model": body["model"],
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
    }


def _answer_line(id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    response = {"status_code": 200, "request_id": f"req-{id}", "body": _completion(body)}
    return {"id": f"batch_req_{id}", "custom_id": id, "response": response, "error": None}


def _error_line(id: str, code: str) -> dict[str, Any]:
    return {"custom_id": id, "response": None, "error": {"code": code, "message": f"{code}."}}


def _reply(status: int, body: Any) -> Reply:
    return Reply(status, Headers([(b"content-type", b"application/json")]), msgspec.json.encode(body))
