"""Run a prompt over a Ray Data dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import attrs
import numpy
import ray

from headrace import Client, InputError
from headrace.bulk import WAIT_FOR_ENDPOINT, Item, SourceKind, Summary, json_values
from headrace.plugins import nearest
from headrace_ray.blocks import key_of, request_tables
from headrace_ray.files import JobSpec
from headrace_ray.folder import OutputFolder, put_shared
from headrace_ray.key_sets import SortedKeys
from headrace_ray.session import ActorPoolConfig, ray_cluster, run_sessions
from headrace_ray.shards import key_by_id
from headrace_ray.stop import StopSignal


@attrs.frozen
class DatasetRows:
    """Rows of a dataset, as the source of a task; without a ``table``, only their name and digest."""

    id_column: str | None
    table: Any = None
    name: str = "the dataset"
    kind: SourceKind = "jsonl"

    def where(self, line: int) -> str:
        """Return the dataset's name: its rows have no numbers."""
        return self.name

    def items(self) -> Iterator[Item]:
        """Yield the items; raise `InputError` if one has no id."""
        if self.table is None or not self.table.num_rows:
            return
        names = self.table.column_names
        wanted = self.id_column or next((name for name in ("custom_id", "id") if name in names), None)
        if wanted not in names:
            hint = "" if wanted is None else f" {wanted!r}; {nearest(wanted, names)}"
            raise InputError(
                f"{self.name}: no id column{hint}; a run needs ids to be resumed, name id_column"
            )
        columns = [json_values(column) for column in self.table.columns]
        for index, values in enumerate(zip(*columns, strict=True)):
            row = dict(zip(names, values, strict=True))
            id = row[wanted]
            if id is None or id == "" or not isinstance(id, str | int):
                raise InputError(
                    f"{self.name}: {wanted!r} must be a non-empty string or an integer, not {id!r}"
                )
            yield Item(index, index + 1, str(id), row)


def map_dataset(
    dataset: ray.data.Dataset,
    *,
    out: str | os.PathLike[str],
    prompt: str,
    make_client: Callable[[], Client] = Client,
    choices: Iterable[str] | None = None,
    answer: Any = None,
    id_column: str | None = None,
    system: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    actors: int | None = None,
    max_in_flight: int | None = None,
    wait_for_endpoint: float = WAIT_FOR_ENDPOINT,
    deadline: float | None = None,
    retry_failed: bool = False,
    backend: str = "asyncio",
) -> Summary:
    """Run a prompt over a dataset.

    A later call with the same ``out`` continues with the rows whose ids have no output line.

    Args:
        dataset: The rows.
        out: The output folder; all machines of the cluster must share it. See `read_results`.
        prompt: The prompt template over the dataset's columns, as for `headrace.bulk.run`.
        make_client: Makes the client of an actor.
        choices: As for `headrace.bulk.run`.
        answer: As for `headrace.bulk.run`.
        id_column: The column of ids, which must be unique (default: ``custom_id`` or ``id``).
        system: As for `headrace.bulk.run`.
        parameters: As for `headrace.bulk.run`.
        actors: Actors that share the calls (default: half as many as the cluster has processors).
        max_in_flight: Calls in flight of all actors together (default: the client's setting).
        wait_for_endpoint: Seconds to wait for an endpoint that fails.
        deadline: Seconds after which the run stops (default: no limit).
        retry_failed: Run failed items again.
        backend: The event loop of each actor, "asyncio" or "trio".

    Returns:
        The summary of the run.

    Raises:
        InputError: A row or the prompt is invalid; for a row, when it is read.
        JournalError: ``out`` belongs to another run, is in use, or is damaged.
        SettingsError: A setting is invalid.
    """
    client = make_client()
    settings = client.settings
    spec = JobSpec(
        prompt, settings.model, None if choices is None else tuple(choices), system, parameters or {}, answer
    )
    task = spec.task(DatasetRows(id_column))
    with (
        ray_cluster(None),
        OutputFolder(os.fspath(out), task.fingerprint(), key_by_id, retry_failed=retry_failed) as folder,
    ):

        def requests() -> Any:
            get_done = put_shared(SortedKeys.of(folder.keys))
            return dataset.map_batches(
                partial(_requests, spec=spec, id_column=id_column, get_done=get_done, stop=folder.stop),
                batch_size=None,
                batch_format="pyarrow",
                zero_copy_batch=True,
            )

        pool = ActorPoolConfig(
            actors=actors,
            make_client=make_client,
            policies=client.policies,
            max_in_flight=max_in_flight or settings.max_in_flight,
            choices=task.choices,
            answer=answer,
            key=key_by_id,
            wait_for_endpoint=wait_for_endpoint,
            deadline=deadline,
            backend=backend,
        )
        return run_sessions(requests, folder, pool, None)


def _requests(
    table: Any, *, spec: JobSpec, id_column: str | None, get_done: Callable[[], SortedKeys], stop: StopSignal
) -> Iterator[Any]:
    """Yield the requests for the rows that are not done."""
    rows = DatasetRows(id_column, table)
    items = [] if stop.requested else list(rows.items())
    keys = [key_of(item.id) for item in items]
    done = get_done().contains(numpy.array(keys, numpy.uint64)).tolist()
    left = [(key, item) for key, item, is_done in zip(keys, items, done, strict=True) if not is_done]
    task = spec.task(rows)
    for _, item in left:
        task.check_item(item)
    yield from request_tables(left, task)
