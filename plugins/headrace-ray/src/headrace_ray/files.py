"""The input files: finding, counting and reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy

from headrace import InputError
from headrace.bulk import InputCheck, Item, Source, Task, input_files
from headrace_ray.blocks import request_tables
from headrace_ray.key_sets import IndexBitmap
from headrace_ray.stop import StopSignal


@attrs.frozen
class JobSpec:
    """The request for each item, as it goes to Ray's processes: a `Task` without its source.

    ``more`` are the keyword-only arguments of the task.
    """

    prompt: Any
    model: str | None
    choices: Sequence[str] | None
    system: Any
    parameters: Mapping[str, Any]
    answer: Any
    more: Mapping[str, Any] = attrs.field(factory=dict)

    def task(self, source: Any) -> Task:
        """Return the task over a source."""
        return Task(
            *(source, self.prompt, self.model, self.choices, self.system, self.parameters, self.answer),
            **self.more,
        )

    def with_files_read(self, task: Task) -> JobSpec:
        """Return the spec with the content of the files of prompts and examples, which ``task`` has read."""
        more = self.more if not task.examples else {**self.more, "examples": task.examples}
        return attrs.evolve(self, prompt=task.prompt, system=task.system, more=more)


@attrs.frozen
class IndexedFile:
    """An input file, and its position in the whole input.

    Attributes:
        path: The file.
        prefix: Prefix for the ids of items without an id: the file's name if there are several files.
        first: The index of its first item in the whole input.
        items: How many items it has.
        digest: The digest of its content.
    """

    path: str
    prefix: str
    first: int = 0
    items: int = 0
    digest: str = ""

    def source(self, id_column: str | None, limit: int | None) -> _PrefixedSource:
        """Return the source of its items."""
        return _PrefixedSource(self.path, id_column, limit, self.prefix)


class _PrefixedSource(Source):
    """A source that prefixes the ids of items without an id with the file's name."""

    def __init__(self, path: str, id_column: str | None, limit: int | None, prefix: str) -> None:
        super().__init__(path, id_column, limit)
        self._prefix = prefix

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        items = super().items()
        if self.id_column is not None or not self._prefix:
            return items
        return (attrs.evolve(item, id=f"{self._prefix}:{item.id}") for item in items)


def find_files(input_name: str) -> list[IndexedFile]:
    """Return the files that INPUT names; see `headrace.bulk.input_files`.

    Raises:
        InputError: No file matches, or INPUT is not a path.
    """
    if input_name == "-":
        raise InputError("-: --engine ray cannot read stdin; name a file, a folder or a pattern")
    if "://" in input_name:
        raise InputError(
            "INPUT is a URL, which --engine ray cannot read; read it with Ray Data and call "
            "headrace_ray.map_dataset"
        )
    return [IndexedFile(str(path), prefix) for path, prefix in input_files(input_name)]


def scan(file: IndexedFile, spec: JobSpec, id_column: str | None, limit: int | None) -> tuple[int, str]:
    """Return the number of a file's items and its digest; raise `InputError` for an invalid item."""
    source = file.source(id_column, limit)
    return InputCheck(spec.task(source)).finish(), source.digest()


def assign_positions(
    files: Iterable[IndexedFile], scanned: Iterable[tuple[int, str]], limit: int | None
) -> list[IndexedFile]:
    """Return the files with the results of `scan` and their positions, up to the limit."""
    positioned, first = [], 0
    for file, (items, digest) in zip(files, scanned, strict=True):
        left = items if limit is None else min(items, limit - first)
        positioned.append(attrs.evolve(file, first=first, items=left, digest=digest))
        first += left
    return positioned


def combined_digest(files: Sequence[IndexedFile]) -> str:
    """Return the digest of a single file, or of all files with their names."""
    if len(files) == 1:
        return files[0].digest
    text = "\n".join(f"{file.prefix} {file.digest}" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


def read_functions(
    files: Sequence[IndexedFile],
    spec: JobSpec,
    id_column: str | None,
    get_done: Callable[[], IndexBitmap],
    stop: StopSignal,
) -> list[Callable[[], Iterator[Any]]]:
    """Return a function for each file that reads the requests of its items, except for finished items."""
    return [partial(_read, file, spec, id_column, get_done, stop) for file in files if file.items]


def _read(
    file: IndexedFile,
    spec: JobSpec,
    id_column: str | None,
    get_done: Callable[[], IndexBitmap],
    stop: StopSignal,
) -> Iterator[Any]:
    """Yield tables of the requests of a file's items that are not done."""
    source = file.source(id_column, file.items)
    indexes = numpy.arange(file.first, file.first + file.items, dtype=numpy.uint64)
    todo = numpy.packbits(~get_done().contains(indexes), bitorder="little").tobytes()

    def remaining() -> Iterator[tuple[int, Item]]:
        for item in source.items():
            if todo[item.index >> 3] >> (item.index & 7) & 1:
                yield file.first + item.index, item

    for table in request_tables(remaining(), spec.task(source)):
        if stop.requested:
            return
        yield table
