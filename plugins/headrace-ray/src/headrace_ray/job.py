"""A job of `headrace run --engine ray`, from its files to its folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import ray.data

from headrace import InputError, JournalError
from headrace.bulk import Item, Job, SourceKind, Summary
from headrace_ray.done import Places
from headrace_ray.files import Asked, InputFile, digest_of, files_of, look_through, placed, reads
from headrace_ray.folder import Folder, on_ray, shared
from headrace_ray.results import read_results
from headrace_ray.session import Crowd, cluster, perform
from headrace_ray.shards import by_place
from headrace_ray.source import Pieces


@attrs.frozen
class Files:
    """All files of a job, as its task has them: what they are called, and what tells them from others."""

    name: str
    files: Sequence[InputFile]
    id_column: str | None
    kind: SourceKind

    def where(self, line: int) -> str:
        """The input and a line."""
        return f"{self.name}:{line}"

    def items(self) -> Iterator[Item]:
        """None here: they are read by Ray's processes."""
        return iter(())

    def digest(self) -> str:
        """That of all files."""
        return digest_of(self.files)


def run_job(job: Job, options: Mapping[str, Any]) -> Summary:
    """Run a job on Ray; see `headrace.bulk.Engine.run`."""
    files = files_of(job.input)
    asked = Asked(job.prompt, job.model, job.choices, job.system, job.parameters, job.schema)
    kind = files[0].source(job.id_column, 1).kind
    asked.of(Files(job.input, files, job.id_column, kind))  # what is wrong with it shows here
    if Path(job.out).is_file():
        raise JournalError(f"{job.out}: is a file; an engine writes to a folder, name another --out")
    job.make_client()
    with cluster(options["ray_address"]):
        arguments = [(file, asked, job.id_column, job.limit) for file in files]
        files = placed(files, on_ray(look_through, arguments), job.limit)
        total = sum(file.items for file in files)
        task = asked.of(Files(job.input, files, job.id_column, kind))
        with Folder(job.out, task.fingerprint(), by_place, retry_failed=job.retry_failed) as folder:
            done = Places.of(folder.keys, total)
            folder.keys = [keys[keys < total] for keys in folder.keys]  # of a run with a higher limit
            folder.failed = [keys[keys < total] for keys in folder.failed]
            get_done = shared(done)
            pieces = reads(files, asked, job.id_column, get_done, folder.stop)
            crowd = Crowd(
                actors=options["actors"],
                make_client=job.make_client,
                max_in_flight=job.max_in_flight,
                choices=task.choices,
                answer=job.schema,
                key=by_place,
                wait_for_endpoint=job.wait_for_endpoint,
                deadline=job.deadline,
                retry_failed=job.retry_failed,
            )
            dataset = ray.data.read_datasource(Pieces(pieces), override_num_blocks=len(pieces))
            summary = perform(dataset, folder, crowd, total)
            if options["parquet"]:
                write_parquet(folder.path, folder.session)
    return summary


def write_parquet(out: Path, session: str) -> None:
    """What is done as Parquet files in a folder of the output, which replaces an older one."""
    fresh, wanted = out / f".parquet-{session}.new", out / "parquet"
    read_results(out).write_parquet(str(fresh))
    shutil.rmtree(wanted, ignore_errors=True)
    try:
        fresh.rename(wanted)
    except OSError as error:
        raise InputError(f"{wanted}: {error.strerror}; what is done is in {out}") from error
