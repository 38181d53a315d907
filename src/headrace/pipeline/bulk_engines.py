"""Engines make the calls of bulk runs in another way than calls of this process.

One kind has the whole run to itself, for example on Ray. The other kind is an executor of the usual run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    import click

    from headrace.bulk.engine_setup import EngineSetup
    from headrace.bulk.executor import Executor
    from headrace.bulk.summary import Summary
    from headrace.client import Client


@attrs.frozen(kw_only=True)
class Job:
    """A bulk run as requested on the command line, before any check.

    Attributes:
        input: The input as written; the engine interprets it.
        out: The output as written; the engine interprets it.
        prompt: The prompt template, or the path of a file with one; see `headrace.bulk.run`, also for the
            following.
        model: The model; None for the client's.
        choices: The choices to answer with; None for other answers.
        schema: The JSON schema of the answers; None for other answers.
        system: The system message, or the path of a file with one; None for none.
        parameters: Further parameters of the API.
        id_column: The column with the ids; None for line numbers.
        limit: Maximum number of rows; None for all.
        make_client: Makes a client, in any process; can be pickled.
        max_in_flight: Maximum number of attempts on the wire in all processes together.
        deadline: Seconds after which the run stops; None for no limit.
        wait_for_endpoint: Seconds to wait for an endpoint that fails.
        retry_failed: Whether failed rows of an earlier run are sent again.
        template: The language of the templates; None to choose it by the names of the files.
        messages: The column with the conversations; None for none.
        examples: The file with the examples; None for none.
        model_column: The column of the models; None for none.
        tags: Tags of the requests.
        priority: The priority of the requests, or its column.
        extra_body: Members of the bodies that only the endpoint has.
        on_missing: What happens if a row lacks a column.
        command: The command of the run, without secrets, for those who look at its output; None without one.
    """

    input: str
    out: str
    prompt: str | Path | None
    model: str | None
    choices: Sequence[str] | None
    schema: Mapping[str, Any] | None
    system: str | Path | None
    parameters: Mapping[str, Any]
    id_column: str | None
    limit: int | None
    make_client: Callable[[], Client]
    max_in_flight: int
    deadline: float | None
    wait_for_endpoint: float
    retry_failed: bool
    template: Literal["braces", "jinja"] | None = None
    messages: str | None = None
    examples: str | None = None
    model_column: str | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict)
    priority: int | str = 0
    extra_body: Mapping[str, Any] = attrs.field(factory=dict)
    on_missing: Literal["refuse", "fail-row"] = "refuse"
    command: str | None = None


@runtime_checkable
class Engine(Protocol):
    """Executes jobs for ``headrace run --engine NAME``."""

    @property
    def name(self) -> str:
        """The name for ``--engine``."""

    @property
    def options(self) -> Sequence[click.Option]:
        """Options to add to the command."""

    def run(self, job: Job, options: Mapping[str, Any], /) -> Summary:
        """Execute a job and return its summary.

        Args:
            job: The run.
            options: The values of `options`, by name.

        Raises:
            InputError, JournalError, SettingsError: Before anything is sent.
        """


@runtime_checkable
class ExecutorEngine(Protocol):
    """Makes the calls of ``headrace run --engine NAME``, and leaves the rest of the run as it is.

    The input, the journal, tables and the summary are those of a run without an engine.

    An engine may also have ``price_of(client)``. It returns a function that takes a model and its numbers of
    prompt and output tokens, and returns their price in USD with this engine, or None if it is unknown.
    ``--dry-run`` then shows both costs.
    """

    @property
    def name(self) -> str:
        """The name for ``--engine``."""

    @property
    def options(self) -> Sequence[click.Option]:
        """Options to add to the command."""

    def open_executor(
        self, setup: EngineSetup, options: Mapping[str, Any], /
    ) -> AbstractAsyncContextManager[Executor]:
        """Open the executor of a session; the client of ``setup`` is open.

        Args:
            setup: What belongs to the run.
            options: The values of `options`, by name; empty for `headrace.run`.

        Raises:
            HeadraceError: The run cannot begin.
        """
