"""Writing a table: what is looked at before a run, and the file that is replaced after it."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import attrs

from headrace.bulk.sources import Item, Source
from headrace.bulk.tables.answers import Answers, Record
from headrace.bulk.tables.as_csv import write_csv
from headrace.bulk.tables.as_parquet import write_parquet
from headrace.bulk.tables.layout import Layout
from headrace.errors import InputError

_SUFFIXES = (".csv", ".parquet")


@attrs.frozen
class Table:
    """A table of what is done of a run: its ``path``, the run's ``source`` and its output.

    Raises `InputError` where it could not be written, so that this is known before a run.
    """

    path: Path = attrs.field(converter=Path)
    source: Source
    out: Path = attrs.field(converter=Path)

    def __attrs_post_init__(self) -> None:
        path = self.path
        if path.suffix.lower() not in _SUFFIXES:
            raise InputError(f"--table {path}: must end in {' or '.join(_SUFFIXES)}")
        if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise InputError(f"--table {path}: pip install 'headrace[parquet]' to write Parquet")
        try:
            if self.source.is_at(path) or path.resolve() == self.out.resolve():
                raise InputError(f"--table {path}: is the input or the output; name another file")
            if path.is_dir():
                raise InputError(f"--table {path}: is a directory; name a file in it")
            with self._beside():
                pass
        except OSError as error:
            raise InputError(f"--table {path}: cannot be written: {error.strerror}") from error

    @contextmanager
    def _beside(self) -> Iterator[tuple[IO[bytes], str]]:
        """A new file beside the table, for its owner alone; it is gone after the block, or renamed."""
        descriptor, name = tempfile.mkstemp(".new", f"{self.path.name}.", self.path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file, name
        finally:
            Path(name).unlink(missing_ok=True)

    def write(self) -> None:
        """Write what is done, in one step: a crash leaves the old table or the new one.

        Raises `InputError` where that fails, or the output is not that of the source.
        """
        try:
            with Answers(self.out, self.source.limit) as answers, self._beside() as (file, name):
                layout, done = Layout(self.source, answers), self._done(answers)
                if self.path.suffix.lower() == ".csv":
                    write_csv(file, layout, done)
                else:
                    write_parquet(file, layout, self.source, answers, done)
                file.flush()
                os.fsync(file.fileno())
                os.replace(name, self.path)
        except OSError as error:
            raise InputError(
                f"{self.path}: {error.strerror or error}; what is done is in {self.out}, "
                "and the same command writes the table again"
            ) from error

    def _done(self, answers: Answers) -> Iterator[tuple[Item, Record]]:
        for item in self.source.items():
            if (record := answers.of(item)) is not None:
                yield item, record


def write_table(table: str | os.PathLike[str], source: Source, out: str | os.PathLike[str]) -> None:
    """Write what a run has done so far as one table, as ``headrace run --table`` does.

    ``table`` is a path that ends in ``.csv`` or ``.parquet``; ``source`` the run's input, with the same id
    column, and ``out`` its output. There is one row for each item that is done, in the input's order: its id,
    the input's own columns, its answer, its error, its attempts, seconds and cost. A file that is there is
    replaced in one step.

    Raises `InputError` for a table that cannot be written, and an output that is not the source's.
    """
    Table(table, source, out).write()
