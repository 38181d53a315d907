"""A run that embeds texts, from its arguments: `headrace.bulk.run` and the command line both start here."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs

from headrace._support.text import quoted
from headrace.bulk.chosen_items import ChosenItems, Only, as_choice
from headrace.bulk.embedding.executor import EmbeddingExecutor
from headrace.bulk.embedding.task import EmbeddingTask
from headrace.bulk.embedding.vector_table import VectorTable
from headrace.bulk.engine_setup import EngineSetup
from headrace.bulk.executor import Executor, carry_over
from headrace.bulk.prepared_run import PreparedRun
from headrace.bulk.process_executor import ProcessExecutor
from headrace.bulk.result_store import ResultStore
from headrace.bulk.run_output import STDOUT, lines_path
from headrace.bulk.run_preparation import begin_check, checked_table
from headrace.bulk.sources import IdFunction, RowsLike, as_input
from headrace.client import Client
from headrace.client.embeddings import MAX_TEXTS
from headrace.errors import InputError, SettingsError

DEFAULT_BATCH_SIZE = 256
"""Texts in a request. Larger requests are hardly faster, and a failed one concerns more rows."""


@attrs.frozen(kw_only=True)
class PreparedEmbedding(PreparedRun):
    """A run that embeds texts; see `PreparedRun`."""

    task: EmbeddingTask

    batch_size: int
    table: VectorTable | None = None

    def local_executor(
        self, client: Client, journal: ResultStore, max_in_flight: int | None = None
    ) -> Executor:
        """An executor over one client, which must be open when the run is performed."""
        carry_over(client, getattr(journal, "spent", Decimal(0)))
        return EmbeddingExecutor(client, self.batch_size, max_in_flight)

    def engine_setup(self, *args: Any, **options: Any) -> EngineSetup:
        """What an engine needs to make the calls of this run, one for each text."""
        if self.batch_size != DEFAULT_BATCH_SIZE:
            raise SettingsError(
                f"batch_size={self.batch_size}: leave it out; with engine=, each text is a request of its own"
            )
        return super().engine_setup(*args, **options)

    def process_executor(self, *args: Any, **options: Any) -> ProcessExecutor:
        """Raise `SettingsError`: one process sends as much as endpoints embed."""
        raise SettingsError('processes=: is not for task="embed"; leave it out')


def prepare_embedding(
    source: RowsLike,
    out: str | os.PathLike[str] | None,
    model: str | None,
    *,
    column: str | None,
    batch_size: int | None = None,
    encoding: str | None = None,
    id_column: str | IdFunction | None = None,
    limit: int | None = None,
    table: str | os.PathLike[str] | None = None,
    only: Only | None = None,
    **arguments: Any,
) -> PreparedEmbedding:
    """Check the arguments of a run and the beginning of its input.

    Args:
        source: See `headrace.bulk.run`, also for the following.
        out: The output.
        model: The model.
        column: The column of the texts.
        batch_size: The most texts in a request; None for `DEFAULT_BATCH_SIZE`.
        encoding: The encoding of text.
        id_column: The column of the ids.
        limit: How many items.
        table: The table.
        only: Which items.
        **arguments: The other arguments of an `EmbeddingTask`; None for the default of one.

    Raises:
        InputError: The input, the column, the ids or the output is not valid.
        JournalError: The output is not a file that can be written.
    """
    if out is not None and Path(out).suffix.lower() == ".csv":
        raise InputError(f"out={out}: CSV has no vectors; name a file that ends in .parquet, .npy or .jsonl")
    if batch_size is None:
        batch_size = DEFAULT_BATCH_SIZE
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or not 1 <= batch_size <= MAX_TEXTS:
        raise InputError(f"batch_size={batch_size!r}: must be a number of texts from 1 to {MAX_TEXTS}")
    path, choice = None if out is None else lines_path(out, VectorTable), as_choice(only)
    items = as_input(source, id_column, limit, encoding)
    checked = checked_table(out, path, table, items, VectorTable)
    task = EmbeddingTask(
        source=items if choice is None else ChosenItems(items, choice),
        column=column,
        model=model,
        **{name: value for name, value in arguments.items() if value is not None},
    )
    return PreparedEmbedding(
        task=task,
        check=begin_check(task, path),
        source=items,
        out=path,
        to_stdout=out is not None and os.fspath(out) == STDOUT,
        table=checked,
        batch_size=batch_size,
    )


_OF_EMBEDDINGS = ("column", "dimensions", "batch_size")
_OF_BOTH = ("id_column", "encoding", "extra_body", "on_missing", "limit", "table", "only")


def arguments_of_task(
    task: str, arguments: Mapping[str, Any], function: Callable[..., Any]
) -> dict[str, Any]:
    """The arguments of `headrace.bulk.run` that belong to its task.

    Args:
        task: "chat" or "embed".
        arguments: All arguments that belong to one of the tasks, or to both.
        function: The function that has them, with their defaults.

    Raises:
        InputError: The task is another one, or an argument belongs to the other task.
    """
    if task not in ("chat", "embed"):
        raise InputError(f"unknown task {quoted(task)}: task= must be 'chat' or 'embed'")
    is_embed, parameters = task == "embed", inspect.signature(function).parameters
    own = [name for name in arguments if name in _OF_BOTH or (name in _OF_EMBEDDINGS) is is_embed]
    given = [name for name, value in arguments.items() if value is not parameters[name].default]
    if unfit := [f"{name}=" for name in given if name not in own]:
        other = "chat" if is_embed else "embed"
        raise InputError(f'task="{task}": leave out {", ".join(unfit)}; only task="{other}" has it')
    return {name: arguments[name] for name in own}
