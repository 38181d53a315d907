"""The file behind a source: a path or stdin, plain or compressed, which can be read several times."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, AnyStr

from headrace.bulk.sources.compression import MAGIC_SIZE, compression_of, decompressed
from headrace.errors import InputError

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes or characters of a line of compressed input: a small file could decompress to a line of gigabytes."""


class InputFile:
    """A file that can be read several times; ``path`` "-" is stdin, which is copied to a temporary file.

    ``is_parquet``: whether it begins like a Parquet file.

    Raises:
        InputError: It cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name: str = "<stdin>" if str(path) == "-" else str(path)
        self._path = Path(path)
        self._spooled = _spool_stdin() if str(path) == "-" else None
        with self.raw() as file:
            self._compression = compression_of(file.read(MAGIC_SIZE))
        with self.open() as content:
            self.is_parquet: bool = content.read(4) == b"PAR1"
        if self.is_parquet and self._compression:
            raise InputError(f"{self.name}: is Parquet inside {self._compression}; decompress it first")

    def raw(self) -> IO[bytes]:
        """The bytes of the file, not decompressed."""
        if self._spooled is not None:
            self._spooled.seek(0)
            # A second descriptor, so that closing it leaves the temporary file open for the next pass.
            return os.fdopen(os.dup(self._spooled.fileno()), "rb")
        try:
            return self._path.open("rb")
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror}") from error

    def open(self) -> IO[bytes]:
        """The content, decompressed."""
        file = self.raw()
        return file if self._compression is None else decompressed(file, self._compression, self.name)

    def lines(self, file: IO[AnyStr]) -> Iterator[AnyStr]:
        """The lines of a file that `open` returned."""
        if self._compression is None:
            return file  # no line is longer than the file; a limit would cost 60 ns per line
        return self._limited(file)

    def _limited(self, file: IO[AnyStr]) -> Iterator[AnyStr]:
        for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE), file.read(0)), 1):
            if len(line) == LONGEST_LINE:
                raise InputError(f"{self.name}:{number}: a line of more than {LONGEST_LINE >> 20} MiB")
            yield line

    def digest(self) -> str:
        """SHA-256 of the bytes of the file, in hex."""
        with self.raw() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

    def is_at(self, path: Path) -> bool:
        """Whether this is the file at ``path``."""
        return self._spooled is None and path.exists() and path.samefile(self._path)


def _spool_stdin() -> IO[bytes]:
    if sys.stdin.isatty():
        raise InputError("<stdin>: is a terminal; name a file, or pipe one in")
    spooled = tempfile.TemporaryFile()  # noqa: SIM115 - kept open as long as the source
    shutil.copyfileobj(sys.stdin.buffer, spooled)
    spooled.flush()
    return spooled
