"""A table of a run's answers: checked before the run, written after it."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, ClassVar

import attrs

from headrace.bulk.output_line import OutputLine
from headrace.bulk.output_path import real_path
from headrace.bulk.sources import Item, Source
from headrace.bulk.tables.csv_writer import write_csv
from headrace.bulk.tables.layout import TableLayout
from headrace.bulk.tables.output_index import OutputIndex
from headrace.bulk.tables.parquet_writer import write_parquet
from headrace.errors import InputError

_SUFFIXES = (".csv", ".parquet")


def is_table(path: Path, suffixes: Collection[str] = _SUFFIXES) -> bool:
    """Whether the name of a file is that of a table."""
    return path.suffix.lower() in suffixes


def lines_of(path: Path) -> Path:
    """The lines of a run: the file beside a table that is its output, else ``path``."""
    lines = Path(f"{path}.jsonl")
    return lines if is_table(path) and lines.exists() else path


@attrs.frozen
class Table:
    """A table of the finished items of a run.

    Args:
        path: Where to write it; ends in ``.csv`` or ``.parquet``.
        source: The run's input.
        out: The run's output.
        keyword: The argument that names the table, for messages.

    Raises:
        InputError: It could not be written there; checked at once, before the run.
    """

    path: Path = attrs.field(converter=Path)
    source: Source
    out: Path = attrs.field(converter=Path)
    keyword: str = "table"
    suffixes: ClassVar[Sequence[str]] = _SUFFIXES

    def __attrs_post_init__(self) -> None:
        path, name = self.path, f"{self.keyword}={self.path}"
        if not is_table(path, self.suffixes):
            raise InputError(f"{name}: must end in {' or '.join(self.suffixes)}")
        if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise InputError(f"{name}: pip install 'headrace[parquet]' to write Parquet")
        try:
            if self.source.is_at(path) or path.resolve() == self.out.resolve():
                raise InputError(f"{name}: is the input or the output; name another file")
            if path.is_dir():
                raise InputError(f"{name}: is a directory; name a file in it")
            with temporary_file(path):
                pass
        except OSError as error:
            raise InputError(f"{name}: cannot be written: {error.strerror}") from error

    def write(self) -> None:
        """Write the finished items and replace the old table atomically.

        Raises:
            InputError: Writing fails, or the output is damaged or belongs to another source.
        """
        try:
            with OutputIndex(self.out) as output, temporary_file(self.path) as (file, name):
                self._fill(file, output)
                if len(output) and not output.found:
                    raise InputError(
                        f"{self.out}: no line belongs to a row of {self.source.name}; name the input and the "
                        "id column of the run that wrote this output"
                    )
                file.flush()
                os.fsync(file.fileno())
                os.replace(name, real_path(self.path))  # a symbolic link stays a link
        except OSError as error:
            raise InputError(
                f"{self.path}: {error.strerror or error}; finished items are in {self.out}, "
                "and the same command writes the table again"
            ) from error

    def _fill(self, file: IO[bytes], output: OutputIndex) -> None:
        layout, done = TableLayout(self.source, output), self._done(output)
        if self.path.suffix.lower() == ".csv":
            write_csv(file, layout, done)
        else:
            write_parquet(file, layout, self.source, output, done)

    def _done(self, output: OutputIndex) -> Iterator[tuple[Item, OutputLine]]:
        for item in self.source.items():
            if (line := output.line_of(item)) is not None:
                yield item, line


@contextmanager
def temporary_file(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """A new private file in the folder of ``path``; it is removed at the end unless it was renamed."""
    real = real_path(path)
    descriptor, name = tempfile.mkstemp(".new", f"{real.name}.", real.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, name
    finally:
        Path(name).unlink(missing_ok=True)


def write_table(table: str | os.PathLike[str], source: Source, out: str | os.PathLike[str]) -> None:
    """Write the finished items of a run as one table, as ``headrace run --table`` does.

    The table has one row per finished item, in the order of the input: its id, the input's columns, its
    answer, error, finish reason, attempts, seconds and cost. An existing file is replaced atomically.

    Args:
        table: A path that ends in ``.csv`` or ``.parquet``.
        source: The run's input, with the id column of the run.
        out: The run's output; if it is a table, the lines beside it are read.

    Raises:
        InputError: The table cannot be written, or the output is damaged or belongs to another source.

    Example:
        ``write_table("answers.csv", Source("products.csv"), "answers.jsonl")``
    """
    Table(table, source, lines_of(Path(out))).write()
