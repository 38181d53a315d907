"""An endpoint with files and batches in memory, on the clock of the event loop, with accidents by number.

It speaks in the form of a provider; see `scripted_forms`.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.lowlevel
import attrs
import msgspec

from headrace import Call, ConnectError, Headers, Reply
from scripted_forms import PATHS, Batch, File, OpenAIForm, Refused, json_reply, require

Accident: TypeAlias = Literal["kill_before", "kill_after", "lost_before", "lost_after", "late", "500_before"]
"""What happens to a request: the process is killed, the connection is lost, the request arrives only later,
or it is refused; before the endpoint has processed it, or after."""

BATCH_TIME, LATENESS = 100.0, 20.0
"""Seconds of a batch, and seconds by which a late request is late."""


class Killed(BaseException):
    """The process is killed."""


@attrs.define
class ScriptedBatches:
    """A transport to such an endpoint; it outlives clients that are killed.

    Attributes:
        accidents: What happens to a request, by its number.
        form: How it speaks.
        failures: The share of rows that fail or expire, in the first two batches of a row.
        max_requests: The most rows of a batch.
        max_enqueued: The most rows of all batches that have not ended.
        max_bytes: The most bytes of a file.
        max_input_bytes: The most bytes of a file of which a batch is made.
        expiring: Whether batches expire when half of their rows are answered.
        rejected: How many more times calls with these ids are answered with an error of the request, and not
            billed.
        rejects_n: Whether requests for several answers are not valid.
        refusal: The code with which all batches are refused.
        lines_of: Changes the files with results.
        listing_delay: Seconds until a file or batch is in the lists.
        seed: Of the failures.
        billed: How often each row was answered.
        batches: All batches.
    """

    accidents: Mapping[int, Accident] = attrs.field(factory=dict)
    form: OpenAIForm = attrs.field(factory=OpenAIForm)
    failures: float = 0.0
    listing_delay: float = 0.0
    seed: int = 0
    max_requests: int = 1_000
    max_enqueued: int = 1_000
    max_bytes: int = 1_000_000
    max_input_bytes: int = 1_000_000
    expiring: bool = False
    rejected: Counter[str] = attrs.field(factory=Counter)
    rejects_n: bool = False
    refusal: str = ""
    lines_of: Any = None
    requests: int = 0
    billed: Counter[str] = attrs.field(factory=Counter)
    rounds: Counter[str] = attrs.field(factory=Counter)
    batches: dict[str, Batch] = attrs.field(factory=dict)
    files: dict[str, File] = attrs.field(factory=dict)
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
            return json_reply(500, {"error": {"message": "internal"}})
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

    def make_batch(self, content: bytes, metadata: Mapping[str, str] | None = None) -> str:
        """Create a batch at time 0, as another program would; returns its id."""
        file = File(
            self.form.file_id.format(next(self._ids)), "requests.jsonl", content, "batch", 0.0, 0.0, 0.0
        )
        url = f"{self.form.url_prefix}/chat/completions"
        batch = Batch(self.form.batch_id.format(next(self._ids)), file, url, dict(metadata or {}), 0.0)
        self.files[file.id], self.batches[batch.id] = file, batch
        return batch.id

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

    def _end(self, batch: Batch, *, cancelled: bool) -> None:
        output, errors = b"", b""
        lines = batch.file.content.splitlines()
        left_out = len(lines) // 2 if self.expiring and not cancelled else 0
        for raw in lines[left_out:]:
            if b'"messages"' not in raw:
                continue
            line = msgspec.json.decode(raw.removeprefix(b"\xef\xbb\xbf"))
            id = line["custom_id"]
            chance = random.Random(f"{self.seed} {id} {self.rounds[id]}").random()
            self.rounds[id] += 1
            if self.rejects_n and "n" in line["body"]:
                body = {"error": {"message": "unknown parameter n", "code": None}}
                result = {"custom_id": id, "response": {"status_code": 400, "body": body}, "error": None}
            elif self.rejected[id] > 0:
                self.rejected[id] -= 1
                body = {"error": {"message": "too long", "code": None}}
                result = {"custom_id": id, "response": {"status_code": 400, "body": body}, "error": None}
            elif cancelled:
                result = self.form.error_line(id, "batch_cancelled")
            elif self.rounds[id] < 3 and chance < self.failures / 2:
                result = self.form.error_line(id, "batch_expired")
            elif self.rounds[id] < 3 and chance < self.failures:
                body = {"error": {"message": "internal", "code": None}}
                result = {"custom_id": id, "response": {"status_code": 500, "body": body}, "error": None}
            else:
                self.billed[id] += 1
                output += msgspec.json.encode(_answer_line(id, line["body"])) + b"\n"
                continue
            errors += msgspec.json.encode(result) + b"\n"
        batch.status = "cancelled" if cancelled else "expired" if left_out else "completed"
        batch.ended = anyio.current_time()
        if output:
            batch.output = self._add_file("output", "batch_output", output)
        if errors:
            batch.errors = self._add_file("errors", "batch_output", errors)
        batch.counts = {"completed": output.count(b"\n"), "failed": errors.count(b"\n")}
        if self.lines_of is not None:
            for id in filter(None, (batch.output, batch.errors)):
                self.files[id].content = self.lines_of(self.files[id].content)

    def _add_file(self, name: str, purpose: str, content: bytes) -> str:
        id, now = self.form.file_id.format(next(self._ids)), anyio.current_time()
        ready = now + self.form.processing
        self.files[id] = File(id, name, content, purpose, now, now + self.listing_delay, ready)
        return id

    def _process(self, call: Call) -> Reply:
        body = call.content[: len(call.content)] if call.content else b""
        return self.answer(call.request.method, call.request.path, body)

    def answer(self, method: str, target: str, body: bytes) -> Reply:
        """Answer a request; ``target`` is the path after the base URL with the query."""
        url = urlsplit(target)
        query, path = parse_qs(url.query), url.path
        id = next((each for each in (*self.files, *self.batches) if each in path.split("/")), "")
        key = f"{method} {path.replace(id, 'ID') if id else path}"
        handlers = self._handlers()
        try:
            self.form.check(query)
            if path.endswith("/chat/completions"):
                return self._chat(body)
            require(key in handlers, f"there is no {path}", 404)
            return handlers[key](body, id, query)
        except Refused as refused:
            return json_reply(refused.status, self.form.refusal(refused))

    def _handlers(self) -> dict[str, Callable[[bytes, str, Any], Reply]]:
        jobs = self.form.jobs
        return {
            f"POST {self.form.upload_path}": self._upload,
            "GET /files": self._list_files,
            "GET /files/ID": self._show_file,
            "DELETE /files/ID": self._delete,
            "GET /files/ID/content": self._content,
            f"POST {jobs}": self._create,
            f"GET {jobs}": self._list_batches,
            f"GET {jobs}/ID": self._show,
            f"POST {jobs}/ID/cancel": self._cancel,
        }

    def _upload(self, body: bytes, id: str, query: Any) -> Reply:
        name, purpose, content = self.form.upload(body)
        require(len(content) <= self.max_bytes, "the file is too large", 413)
        return json_reply(200, self.form.file(self.files[self._add_file(name, purpose, content)]))

    def _list_files(self, body: bytes, id: str, query: Any) -> Reply:
        now = anyio.current_time()
        shown = [each for each in self.files.values() if each.listed_from <= now and not each.deleted]
        return json_reply(200, self.form.files([self.form.file(each) for each in reversed(shown)], query))

    def _show_file(self, body: bytes, id: str, query: Any) -> Reply:
        require(not self.files[id].deleted, "no such File object", 404)
        return json_reply(200, self.form.retrieved(self.files[id]))

    def _delete(self, body: bytes, id: str, query: Any) -> Reply:
        self.files[id].deleted = True
        return json_reply(200, {"id": id, "object": "file", "deleted": True})

    def _content(self, body: bytes, id: str, query: Any) -> Reply:
        require(not self.files[id].deleted, "no such File object", 404)
        headers = Headers([(b"content-type", b"application/octet-stream")])
        return Reply(200, headers, self.files[id].content)

    def _create(self, body: bytes, id: str, query: Any) -> Reply:
        file_id, url, metadata = self.form.requested(msgspec.json.decode(body))
        file, now = self.files.get(file_id), anyio.current_time()
        require(file is not None and not file.deleted, "no such File object", param="input_file_id")
        assert file is not None
        require(file.ready_from <= now, "the file is not processed yet")
        urls = [f"{self.form.url_prefix}{path}" for path in PATHS]
        require(url in urls, "no such endpoint", param="endpoint")
        for line in file.content.splitlines():
            self.form.check_line(msgspec.json.decode(line), url)
        batch = Batch(self.form.batch_id.format(next(self._ids)), file, url, metadata, now)
        rows = file.content.count(b"\n")
        if rows > self.max_requests:
            batch.problems = [{"code": "too_many_tasks", "message": f"too many: {rows}", "line": None}]
        if len(file.content) > self.max_input_bytes:
            message = f"The batch input file is larger than {self.max_input_bytes} bytes"
            batch.problems = [{"code": "file_too_large", "message": message, "line": None}]
        enqueued = sum(
            each.file.content.count(b"\n") for each in self.batches.values() if each.status == "in_progress"
        )
        if enqueued + rows > self.max_enqueued:
            require(not self.form.fails_fast, "The number of enqueued tokens has surpassed the limit")
            batch.problems = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]
        if self.refusal:
            batch.problems = [{"code": self.refusal, "message": "no"}]
        bad = [
            {"code": "invalid", "message": "bad row", "line": number}
            for number, line in enumerate(file.content.splitlines(), 1)
            if b"refuse me" in line
        ]
        batch.problems = bad or batch.problems
        if batch.problems:
            batch.status = "failed"
        self.batches[batch.id] = batch
        return json_reply(200, self.form.created(batch))

    def _list_batches(self, body: bytes, id: str, query: Any) -> Reply:
        until = anyio.current_time() - self.listing_delay
        shown = [self.form.batch(each) for each in self.batches.values() if each.created <= until]
        return json_reply(200, self.form.page(shown[::-1], query))

    def _show(self, body: bytes, id: str, query: Any) -> Reply:
        if id not in self.batches:
            return json_reply(404, {"error": {"message": "no such batch"}})
        return json_reply(200, self.form.batch(self.batches[id]))

    def _cancel(self, body: bytes, id: str, query: Any) -> Reply:
        if self.batches[id].status == "in_progress":
            self.batches[id].status = "cancelling"
        return json_reply(200, self.form.batch(self.batches[id]))

    def _chat(self, content: bytes) -> Reply:
        body = msgspec.json.decode(content)
        self.billed[body["messages"][-1]["content"].split()[-1]] += 1
        return json_reply(200, _completion(body))


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
