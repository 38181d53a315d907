"""A job of `headrace run --engine ray`, from the input files to the output folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import ray.data

from headrace import InputError, JournalError
from headrace.bulk import Item, Job, SourceKind, Summary
from headrace_ray.datasource import FunctionDatasource
from headrace_ray.files import (
    IndexedFile,
    JobSpec,
    assign_positions,
    combined_digest,
    find_files,
    read_functions,
    scan,
)
from headrace_ray.folder import OutputFolder, put_shared, run_tasks
from headrace_ray.key_sets import IndexBitmap
from headrace_ray.results import read_results
from headrace_ray.session import ActorPoolConfig, ray_cluster, run_sessions
from headrace_ray.shards import key_by_index

_MORE = (
    *("template", "messages", "examples", "model_column", "tags", "priority", "extra_body"),
    "on_missing",
)
"""The keyword-only arguments of a task, which a job has too."""


@attrs.frozen
class InputFiles:
    """All input files of a job, as the source of its task."""

    name: str
    files: Sequence[IndexedFile]
    id_column: str | None
    kind: SourceKind

    def where(self, line: int) -> str:
        """Return the input and a line, for messages."""
        return f"{self.name}:{line}"

    def items(self) -> Iterator[Item]:
        """Yield nothing: Ray's processes read the items."""
        return iter(())


def run_job(job: Job, options: Mapping[str, Any]) -> Summary:
    """Run a job on Ray; see `headrace.bulk.Engine.run`."""
    files = find_files(job.input)
    more = {name: getattr(job, name) for name in _MORE}
    spec = JobSpec(job.prompt, job.model, job.choices, job.system, job.parameters, job.schema, more)
    kind = files[0].source(job.id_column, 1).kind
    # Raises errors of prompt and options.
    spec = spec.with_files_read(spec.task(InputFiles(job.input, files, job.id_column, kind)))
    if Path(job.out).is_file():
        raise JournalError(f"{job.out}: is a file; --engine ray writes to a folder, so name another --out")
    client = job.make_client()
    with ray_cluster(options["ray_address"]):
        arguments = [(file, spec, job.id_column, job.limit) for file in files]
        files = assign_positions(files, run_tasks(scan, arguments), job.limit)
        total = sum(file.items for file in files)
        task = spec.task(InputFiles(job.input, files, job.id_column, kind))
        fingerprint = {"input": combined_digest(files), **task.fingerprint()}
        with OutputFolder(
            job.out, fingerprint, key_by_index, retry_failed=job.retry_failed, command=job.command
        ) as folder:
            # An earlier run may have had a higher limit.
            folder.keys = [keys[keys < total] for keys in folder.keys]
            folder.failed = [keys[keys < total] for keys in folder.failed]

            def requests() -> Any:
                get_done = put_shared(IndexBitmap.of(folder.keys, total))
                functions = read_functions(files, spec, job.id_column, get_done, folder.stop)
                return ray.data.read_datasource(
                    FunctionDatasource(functions), override_num_blocks=len(functions)
                )

            pool = ActorPoolConfig(
                actors=options["actors"],
                make_client=job.make_client,
                policies=client.policies,
                max_in_flight=job.max_in_flight,
                choices=task.choices,
                answer=job.schema,
                key=key_by_index,
                wait_for_endpoint=job.wait_for_endpoint,
                deadline=job.deadline,
            )
            summary = run_sessions(requests, folder, pool, total)
            if options["parquet"]:
                write_parquet(folder.path, folder.session)
    return summary


def write_parquet(out: Path, session: str) -> None:
    """Write the finished items as Parquet files to a folder of the output; replace an older one."""
    temporary, target = out / f".parquet-{session}.new", out / "parquet"
    read_results(out).write_parquet(str(temporary))
    shutil.rmtree(target, ignore_errors=True)
    try:
        temporary.rename(target)
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}; the finished items are in {out}") from error
