"""The work on a batch: its schedule, and what is due at a time."""

import random
from collections.abc import Callable

from headrace.testing.server.batches.execution import BatchExecutor, Result
from headrace.testing.server.batches.files import FileStore
from headrace.testing.server.batches.input_validation import InputValidation
from headrace.testing.server.batches.record import BatchRecord
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.response_plan import RejectedRequest
from headrace.testing.server.stored_content import StoredContent

# A step of work takes about ten milliseconds, so that other requests are answered meanwhile.
_LINES_CHECKED = 500
_LINES_EXECUTED = 20

# When the states end, as shares of the time that a batch takes.
_VALIDATED, _EXECUTED, _FINALIZED = 0.1, 0.9, 1.0
_CANCELLING = 0.1


class Batch:
    """A batch that works through its input file when `advance` is called.

    Attributes:
        record: What the API shows of it.

    Args:
        record: The record of a new batch.
        number: How many batches were created so far, with this one.
        content: The input file.
        output_lifetime: Seconds until its output and error files expire; None: 30 days.
        behaviour: Its duration and limits.
        executor: Executes the requests.
        files: Takes the output and error files.
        enqueued: Returns the tokens of a model in all unfinished batches.
    """

    def __init__(
        self,
        record: BatchRecord,
        *,
        number: int,
        content: StoredContent,
        output_lifetime: float | None,
        behaviour: Behaviour,
        executor: BatchExecutor,
        files: FileStore,
        enqueued: Callable[[str], int],
    ) -> None:
        self.record: BatchRecord = record
        self._number = number
        self._content = content
        self._output_lifetime = output_lifetime
        self._time = behaviour.batch_time
        self._executor = executor
        self._files = files
        self._validation = InputValidation(content, record.endpoint, behaviour, enqueued)
        # Positions of lines: to execute, in this order, and left undone.
        self._to_execute: list[int] = []
        self._undone: list[int] = []
        self._begun = 0
        self._output, self._error_output = StoredContent(), StoredContent()

    def enqueued_tokens(self, model: str) -> int:
        """The input tokens for this model, while the batch is validated and not finished."""
        record = self.record
        if record.finished or record.status == "validating" or record.model != model:
            return 0
        return self._validation.tokens

    def advance(self, now: float) -> bool:
        """Do a part of the work that is due at this Unix time; returns whether more may be due."""
        record = self.record
        if record.status == "validating":
            return now >= self._at(_VALIDATED) and self._validate()
        if record.status == "in_progress":
            return self._execute(now)
        if record.status == "finalizing":
            end, status = self._at(_FINALIZED), "expired" if self._undone else "completed"
            return now >= end and self._finish(status, "batch_expired", end)
        if record.status == "cancelling":
            end = record.entered["cancelling"] + _CANCELLING * self._time
            return now >= end and self._finish("cancelled", "batch_cancelled", end)
        return False

    def cancel(self, now: float) -> None:
        """Cancel it; raises `RejectedRequest` with status 409 if it is finished."""
        if self.record.finished:
            raise RejectedRequest(409, f"Cannot cancel a batch with status '{self.record.status}'.")
        if self.record.status != "cancelling":
            self._undone += self._to_execute[self._begun :]
            self.record.enter("cancelling", now)

    def _validate(self) -> bool:
        validation, record = self._validation, self.record
        if not validation.step(_LINES_CHECKED):
            return True
        record.model = validation.model or None
        if validation.errors:
            record.errors = validation.errors
            record.enter("failed", self._at(_VALIDATED))
            return False
        self._to_execute = list(validation.positions)
        # Real endpoints execute requests side by side, so their results have another order than the input.
        random.Random(self._number).shuffle(self._to_execute)
        record.total = len(self._to_execute)
        record.enter("in_progress", self._at(_VALIDATED))
        return True

    def _execute(self, now: float) -> bool:
        begin, end = self._at(_VALIDATED), self._at(_EXECUTED)
        share = 1.0 if now >= end else (now - begin) / (end - begin)
        due = int(len(self._to_execute) * share)
        # Another request may have done more already, because it saw a later time.
        due = max(due, self._begun)
        stop = min(due, self._begun + _LINES_EXECUTED)
        for position in self._to_execute[self._begun : stop]:
            line = self._content.read_line(position)
            if self._executor.expires(line, self._number):
                self._undone.append(position)
            else:
                result = self._executor.execute(line, self._number)
                self.record.count(result)
                self._write(result)
        self._begun = stop
        if stop == due and now >= end:
            self.record.enter("finalizing", end)
        return stop < due or now >= end

    def _finish(self, status: str, code: str, end: float) -> bool:
        for position in self._undone:
            self._write(self._executor.skip(self._content.read_line(position), self._number, code))
        record = self.record
        record.output_file_id = self._keep(self._output, "output", end)
        record.error_file_id = self._keep(self._error_output, "error", end)
        record.enter(status, end)
        # What is not needed any more: a long run has many batches.
        self._to_execute, self._undone = [], []
        return False

    def _write(self, result: Result) -> None:
        (self._error_output if result.failed else self._output).append(result.line)

    def _keep(self, content: StoredContent, kind: str, now: float) -> str | None:
        if not len(content):
            return None
        name = f"{self.record.id}_{kind}.jsonl"
        return self._files.add(content, name, "batch_output", now, self._output_lifetime).id

    def _at(self, share: float) -> float:
        return self.record.created_at + share * self._time
