"""The routes of batches."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import attrs
import msgspec
from msgspec import Meta

from headrace.testing.server.batches.batch import Batch
from headrace.testing.server.batches.counts import BatchCounts, RequestCounts
from headrace.testing.server.batches.execution import BatchExecutor
from headrace.testing.server.batches.file_routes import JSON, LONGEST_LIFETIME, SHORTEST_LIFETIME
from headrace.testing.server.batches.files import FileStore
from headrace.testing.server.batches.listing import list_page
from headrace.testing.server.batches.record import BatchRecord
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.request_parsing import parse_body
from headrace.testing.server.response_plan import RejectedRequest, ResponsePlan

_Key = Annotated[str, Meta(max_length=64)]
_Value = Annotated[str, Meta(max_length=512)]


@attrs.frozen
class _ExpiresAfter:
    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=SHORTEST_LIFETIME, le=LONGEST_LIFETIME)]


@attrs.frozen(kw_only=True)
class _NewBatch:
    input_file_id: str
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
    completion_window: Literal["24h"]
    metadata: Annotated[dict[_Key, _Value], Meta(max_length=16)] | None = None
    output_expires_after: _ExpiresAfter | None = None


class BatchStore:
    """The batches of an endpoint.

    Args:
        behaviour: Durations, limits and failures of batches.
        files: The files of the endpoint.
        counts: Counts batches and their requests.
        requests: Counts the requests by ``custom_id``.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        files: FileStore,
        counts: BatchCounts,
        requests: dict[str, RequestCounts],
    ) -> None:
        self._behaviour = behaviour
        self._files = files
        self._counts = counts
        self._executor = BatchExecutor(behaviour, counts, requests)
        self._batches: dict[str, Batch] = {}
        self._unfinished: list[Batch] = []

    def unfinished(self) -> list[Batch]:
        """The batches that are not finished, oldest first."""
        self._unfinished = [batch for batch in self._unfinished if not batch.record.finished]
        return list(self._unfinished)

    def create(self, content: bytes, now: float) -> ResponsePlan:
        """Create a batch from the body of a request; raises `RejectedRequest` if that is invalid."""
        new = parse_body(content, _NewBatch)
        try:
            file = self._files.get(new.input_file_id, now)
        except RejectedRequest:
            message = f"Invalid 'input_file_id': no such File object: {new.input_file_id}"
            raise RejectedRequest(400, message, param="input_file_id") from None
        if file.purpose != "batch":
            message = f"Invalid 'input_file_id': the purpose of the file is '{file.purpose}', not 'batch'."
            raise RejectedRequest(400, message, param="input_file_id")
        self._counts.batches += 1
        record = BatchRecord(
            input_file_id=file.id,
            endpoint=new.endpoint,
            metadata=new.metadata,
            created_at=now,
            listed_from=now + self._behaviour.batch_listing_delay,
        )
        batch = Batch(
            record,
            number=self._counts.batches,
            content=file.content,
            output_lifetime=None if new.output_expires_after is None else new.output_expires_after.seconds,
            behaviour=self._behaviour,
            executor=self._executor,
            files=self._files,
            enqueued=lambda model: sum(each.enqueued_tokens(model) for each in self._unfinished),
        )
        self._batches[record.id] = batch
        self._unfinished.append(batch)
        return _shown(batch)

    def page(self, query: Mapping[str, str], now: float) -> ResponsePlan:
        """A page of the list of batches; raises `RejectedRequest` if the query is invalid."""
        content = list_page(self._listed(now), query, limit=20, most=100)
        return ResponsePlan(headers=JSON, content=content)

    def show(self, id: str) -> ResponsePlan:
        """A batch; raises `RejectedRequest` if there is none with this id."""
        return _shown(self._get(id))

    def cancel(self, id: str, now: float) -> ResponsePlan:
        """Cancel a batch; raises `RejectedRequest` if there is none, or it is finished."""
        batch = self._get(id)
        batch.cancel(now)
        return _shown(batch)

    def _get(self, id: str) -> Batch:
        if id not in self._batches:
            raise RejectedRequest(404, f"No batch found with id '{id}'.", param="id")
        return self._batches[id]

    def _listed(self, now: float) -> Iterator[BatchRecord]:
        return (batch.record for batch in self._batches.values() if batch.record.listed_from <= now)


def _shown(batch: Batch) -> ResponsePlan:
    return ResponsePlan(headers=JSON, content=msgspec.json.encode(batch.record.body()))
