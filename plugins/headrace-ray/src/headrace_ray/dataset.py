"""A prompt over a dataset of Ray Data's."""

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
from headrace_ray.blocks import key_of, tables
from headrace_ray.done import Keys
from headrace_ray.files import Asked
from headrace_ray.folder import Folder, shared
from headrace_ray.session import Crowd, cluster, perform
from headrace_ray.shards import by_id
from headrace_ray.stop import Stop


@attrs.frozen
class Rows:
    """Rows of a dataset, as a task has them; none where it is only what they are called that counts."""

    id_column: str | None
    table: Any = None
    name: str = "the dataset"
    kind: SourceKind = "jsonl"

    def where(self, line: int) -> str:
        """The dataset: its rows have no numbers."""
        return self.name

    def digest(self) -> str:
        """Whose ids these are: what they belong to is not looked at."""
        return f"dataset, ids of {self.id_column or 'custom_id or id'}"

    def items(self) -> Iterator[Item]:
        """The items; raises `InputError` where one has no id."""
        if self.table is None or not self.table.num_rows:
            return
        names = self.table.column_names
        wanted = self.id_column or next((name for name in ("custom_id", "id") if name in names), None)
        if wanted not in names:
            said = "" if wanted is None else f" {wanted!r}; {nearest(wanted, names)}"
            raise InputError(f"{self.name}: no column{said} for the ids, by which a run is resumed")
        columns = [json_values(column) for column in self.table.columns]
        for index, values in enumerate(zip(*columns, strict=True)):
            row = dict(zip(names, values, strict=True))
            id = row[wanted]
            if id is None or id == "" or not isinstance(id, str | int):
                raise InputError(f"{self.name}: {wanted!r} must be a text that is not empty, not {id!r}")
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
    """Run a prompt over a dataset, and return the summary; `read_results` of ``out`` has the answers.

    ``prompt``, ``choices``, ``answer``, ``system`` and ``parameters`` are as for `headrace.bulk.run`, over
    the dataset's columns. ``id_column`` names the column of ids (default: ``custom_id`` or ``id``), which are
    to be distinct: called again, a run goes on with the rows whose ids have no line in ``out``, a folder that
    all machines of the cluster see. ``make_client`` makes the client of an actor. ``actors`` (default: half
    as many as the cluster has processors) share ``max_in_flight`` calls (default: the client's setting);
    each has an event loop of its own, of ``backend`` "asyncio" or "trio".

    Raises `InputError`, `JournalError` or `SettingsError`; for a row that is wrong, when it is come to.
    """
    settings = make_client().settings
    asked = Asked(
        prompt, settings.model, None if choices is None else tuple(choices), system, parameters or {}, answer
    )
    task = asked.of(Rows(id_column))
    with (
        cluster(None),
        Folder(os.fspath(out), task.fingerprint(), by_id, retry_failed=retry_failed) as folder,
    ):
        get_done = shared(Keys.of(folder.keys))
        requests = dataset.map_batches(
            partial(_requests, asked=asked, id_column=id_column, get_done=get_done, stop=folder.stop),
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
        )
        crowd = Crowd(
            actors=actors,
            make_client=make_client,
            max_in_flight=max_in_flight or settings.max_in_flight,
            choices=task.choices,
            answer=answer,
            key=by_id,
            wait_for_endpoint=wait_for_endpoint,
            deadline=deadline,
            retry_failed=retry_failed,
            backend=backend,
        )
        return perform(requests, folder, crowd, None)


def _requests(
    table: Any, *, asked: Asked, id_column: str | None, get_done: Callable[[], Keys], stop: Stop
) -> Iterator[Any]:
    """The requests for those rows that are not done."""
    rows = Rows(id_column, table)
    items = [] if stop.given else list(rows.items())
    keys = [key_of(item.id) for item in items]
    done = get_done().has(numpy.array(keys, numpy.uint64)).tolist()
    left = [(key, item) for key, item, is_done in zip(keys, items, done, strict=True) if not is_done]
    yield from tables(left, asked.of(rows))
