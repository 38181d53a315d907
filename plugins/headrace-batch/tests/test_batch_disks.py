"""Runs whose disk becomes full, or whose folder becomes read-only, at any moment."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import headrace
from batch_runs import lines_of, rows, run, run_at_once
from headrace_batch import BatchEngine
from scripted_batches import ScriptedBatches

ROWS = 6
ENGINE = BatchEngine(max_requests=3)


def session(endpoint: ScriptedBatches, out: Path) -> headrace.bulk.Result:
    """One session of the run, in virtual time."""

    async def main() -> headrace.bulk.Result:
        return await run(endpoint, out, rows(ROWS), ENGINE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anyio.to_thread.run_sync", run_at_once)
        clock = trio.testing.MockClock(autojump_threshold=0)
        result: headrace.bulk.Result = trio.run(main, clock=clock)
    return result


def check_sessions(folder: Path, fault: Callable[[int], Any], points: range) -> set[str]:
    """Break a run at each point, and continue it without the fault; returns the errors of broken sessions."""
    errors = set()
    for point in points:
        out = folder / f"{point}.jsonl"
        endpoint = ScriptedBatches(failures=0.3, seed=2)
        try:
            with fault(point):
                session(endpoint, out)
        except headrace.JournalError as error:
            errors.add(str(error).rpartition(f"{out.name}")[2])
        assert session(endpoint, out).done == ROWS
        assert len(lines_of(out)) == ROWS
        assert set(endpoint.billed.values()) == {1}
        assert [path.name for path in next(folder.glob(f"{out.name}.batch-*")).iterdir()] == ["ledger.jsonl"]
    assert not any("\n" in error for error in errors)
    return errors


def test_a_disk_that_becomes_full(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")

    @contextmanager
    def full(size: int) -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert len(check_sessions(tmp_path, full, range(150, 2_600, 400))) > 1


def test_a_folder_that_becomes_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def read_only(first: int) -> Iterator[None]:
        done = 0

        def refusing(function: Callable[..., Any], changes: Callable[..., bool]) -> Callable[..., Any]:
            def call(path: Any, *arguments: Any, **options: Any) -> Any:
                nonlocal done
                if ".batch-" in str(path) and changes(*arguments):
                    done += 1
                    if done > first:
                        raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return function(path, *arguments, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("unlink", "replace", "mkdir"):
                patch.setattr(os, name, refusing(getattr(os, name), lambda *_: True))
            opens = refusing(open, lambda mode="r", *_: mode == "wb")
            patch.setattr("io.open", opens)
            patch.setattr(os, "open", refusing(os.open, lambda flags, *_: bool(flags & os.O_CREAT)))
            yield

    assert len(check_sessions(tmp_path, read_only, range(0, 14, 2))) > 1
