"""Runs over a scripted endpoint."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio.lowlevel

import headrace
from headrace.bulk import Result
from headrace_batch import BatchEngine
from headrace_batch.options import BatchOptions
from scripted_batches import ScriptedBatches


async def run_at_once(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """In place of `anyio.to_thread.run_sync`: while a thread works, a virtual clock would jump ahead."""
    await anyio.lowlevel.checkpoint()
    return function(*arguments)


def in_ten_seconds(options: BatchOptions, now: datetime.datetime) -> datetime.datetime:
    """In place of `BatchOptions.finish_at`."""
    return now.astimezone() + datetime.timedelta(seconds=10)


def rows(number: int) -> list[dict[str, str]]:
    return [{"id": f"r{each}", "name": f"r{each}"} for each in range(number)]


def client_of(endpoint: ScriptedBatches, policies: Sequence[Any] = ()) -> headrace.Client:
    """A client of a scripted endpoint."""
    return headrace.Client(
        endpoints=[endpoint.form.endpoint], model="m", policies=policies, transport=endpoint
    )


async def run(
    endpoint: ScriptedBatches,
    out: Path,
    items: Sequence[dict[str, str]],
    engine: BatchEngine | str | None = "batch",
    policies: Sequence[Any] = (),
    **arguments: Any,
) -> Result:
    """Run a prompt over rows in batches."""
    async with client_of(endpoint, policies) as client:
        return await headrace.run(
            client, list(items), out=out, prompt="{name}", id_column="id", engine=engine, **arguments
        )


def lines_of(out: Path) -> dict[str, Any]:
    """The lines of an output by id; each id has one."""
    lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def errors_of(out: Path) -> dict[str, str]:
    """The codes of the failed items."""
    return {id: line["error"]["code"] for id, line in lines_of(out).items() if line["error"]}
