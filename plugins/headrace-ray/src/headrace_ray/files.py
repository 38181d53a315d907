"""The files of an input: which there are, how many items each has, and how they are read."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy

from headrace import InputError
from headrace.bulk import Item, Source, Task, Template
from headrace_ray.blocks import tables
from headrace_ray.done import Places
from headrace_ray.stop import Stop


@attrs.frozen
class Asked:
    """What is asked of each item, as it goes to Ray's processes: a `Task` less its source."""

    prompt: str | None
    model: str | None
    choices: Sequence[str] | None
    system: str | None
    parameters: Mapping[str, Any]
    answer: Any

    def of(self, source: Any) -> Task:
        """The task over a source."""
        prompt = None if self.prompt is None else Template(self.prompt)
        return Task(source, prompt, self.model, self.choices, self.system, self.parameters, self.answer)


@attrs.frozen
class InputFile:
    """A file of the input.

    ``prefix`` stands before the ids of items that have none of their own: the file's name where there are
    several. ``first`` is the place of its first item in the whole input, of which it has ``items``.
    """

    path: str
    prefix: str
    first: int = 0
    items: int = 0
    digest: str = ""

    def source(self, id_column: str | None, limit: int | None) -> _Named:
        """Its items."""
        return _Named(self.path, id_column, limit, self.prefix)


class _Named(Source):
    """A file among others: items without an id of their own have the file's name in it."""

    def __init__(self, path: str, id_column: str | None, limit: int | None, prefix: str) -> None:
        super().__init__(path, id_column, limit)
        self._prefix = prefix

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        items = super().items()
        if self.id_column is not None or not self._prefix:
            return items
        return (attrs.evolve(item, id=f"{self._prefix}:{item.id}") for item in items)


def files_of(named: str) -> list[InputFile]:
    """The files that INPUT names, in the order of their names.

    A file; a folder, with all that is in it and in folders in it; or a pattern. What begins with a dot or
    an underscore is left out. Raises `InputError` for what names none.
    """
    if named == "-":
        raise InputError("-: an engine cannot read stdin; name a file, a folder or a pattern")
    if "://" in named:
        raise InputError(f"{named}: is no path; read it with Ray Data and call headrace_ray.map_dataset")
    if os.path.isfile(named):
        return [InputFile(os.path.abspath(named), "")]
    if os.path.isdir(named):
        base, found = Path(named), Path(named).rglob("*")
    else:
        base = Path(os.path.dirname(glob.escape(named).partition("[")[0]) or ".")
        found = (Path(each) for each in glob.iglob(named, recursive=True))
    paths = sorted(path for path in found if path.is_file() and not _is_hidden(path.relative_to(base)))
    if not paths:
        raise InputError(f"{named}: no such file, and no files in a folder or of a pattern of that name")
    return [InputFile(str(path.absolute()), str(path.relative_to(base))) for path in paths]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def look_through(file: InputFile, asked: Asked, id_column: str | None, limit: int | None) -> tuple[int, str]:
    """The number of a file's items and its digest; raises `InputError` for a bad item."""
    task = asked.of(file.source(id_column, limit))
    return task.check(), task.source.digest()


def placed(
    files: Iterable[InputFile], found: Iterable[tuple[int, str]], limit: int | None
) -> list[InputFile]:
    """The files with what was found in them, up to the limit."""
    placed, first = [], 0
    for file, (items, digest) in zip(files, found, strict=True):
        left = items if limit is None else min(items, limit - first)
        placed.append(attrs.evolve(file, first=first, items=left, digest=digest))
        first += left
    return placed


def digest_of(files: Sequence[InputFile]) -> str:
    """What tells these files from others: that of the one, or of all with their names."""
    if len(files) == 1:
        return files[0].digest
    said = "\n".join(f"{file.prefix} {file.digest}" for file in files)
    return hashlib.sha256(said.encode()).hexdigest()


def reads(
    files: Sequence[InputFile],
    asked: Asked,
    id_column: str | None,
    get_done: Callable[[], Places],
    stop: Stop,
) -> list[Callable[[], Iterator[Any]]]:
    """What reads each file: its items that are not done, with their requests, until the stop is given."""
    return [partial(_read, file, asked, id_column, get_done, stop) for file in files if file.items]


def _read(
    file: InputFile, asked: Asked, id_column: str | None, get_done: Callable[[], Places], stop: Stop
) -> Iterator[Any]:
    source = file.source(id_column, file.items)
    places = numpy.arange(file.first, file.first + file.items, dtype=numpy.uint64)
    todo = numpy.packbits(~get_done().has(places), bitorder="little").tobytes()

    def left() -> Iterator[tuple[int, Item]]:
        for item in source.items():
            if todo[item.index >> 3] >> (item.index & 7) & 1:
                yield file.first + item.index, item

    for table in tables(left(), asked.of(source)):
        if stop.given:
            return
        yield table
