"""Engines: what a bulk run can be handed to in place of this machine's own processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    import click

    from headrace.bulk.summary import Summary
    from headrace.client import Client


@attrs.frozen(kw_only=True)
class Job:
    """A bulk run as it was asked for, not looked at yet.

    ``input`` and ``out`` are as they were written, for the engine to make sense of; what is asked is as for
    `headrace.bulk.run`, ``schema`` a JSON schema. ``make_client`` makes a client, in any process: it is
    picklable. ``max_in_flight`` is for all of them together; in ``deadline`` seconds the run is to stop.
    """

    input: str
    out: str
    prompt: str | None
    model: str | None
    choices: Sequence[str] | None
    schema: Mapping[str, Any] | None
    system: str | None
    parameters: Mapping[str, Any]
    id_column: str | None
    limit: int | None
    make_client: Callable[[], Client]
    max_in_flight: int
    deadline: float | None
    wait_for_endpoint: float
    retry_failed: bool


@runtime_checkable
class Engine(Protocol):
    """Runs a job; what ``headrace run --engine NAME`` hands one to.

    ``options`` are added to the command's own; their values come with the job, by the options' names. ``run``
    returns the summary, and raises `InputError`, `JournalError` or `SettingsError` before anything is sent.
    """

    @property
    def name(self) -> str: ...
    @property
    def options(self) -> Sequence[click.Option]: ...
    def run(self, job: Job, options: Mapping[str, Any], /) -> Summary: ...
