"""The file behind a source: plain or compressed, in any encoding, and readable several times."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, AnyStr

from headrace._support.temporary_descriptor import temporary_descriptor
from headrace.bulk.sources.compression import MAGIC_SIZE, Compression, compression_of, decompressed
from headrace.bulk.sources.copied_file import CopiedFile
from headrace.bulk.sources.encodings import (
    Utf8Converter,
    checked_encoding,
    encoding_by_mark,
    undecodable,
)
from headrace.bulk.sources.file_state import FileState, WatchedFile, changed_input
from headrace.bulk.sources.remote_file import RemoteFile
from headrace.bulk.sources.urls import is_url, local_path, shown_name
from headrace.errors import InputError

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes or characters of a line of compressed input: a small file could decompress to a line of gigabytes."""

_HEAD_SIZE = 64 * 1024
_BUFFER = 128 * 1024


class InputFile:
    """A file that can be read several times.

    What can be read only once is copied to a temporary file: stdin (``path`` "-"), a pipe, a socket. A URL
    is a `RemoteFile`.

    Args:
        path: The file, or a URL.
        encoding: The encoding of its text; None for UTF-8, or for what its byte order mark says.

    Attributes:
        name: Its name for messages.
        compression: How it is compressed, or None.
        head: The beginning of its decompressed content.

    Raises:
        InputError: It cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], encoding: str | None = None) -> None:
        path = local_path(path)
        self.name: str = "<stdin>" if str(path) == "-" else shown_name(path)
        self.encoding: str | None = None if encoding is None else checked_encoding(encoding)
        self._remote = RemoteFile(str(path)) if is_url(path) else None
        self._path = Path(path)
        self._copy = None if self._remote is not None else self._copy_of_stream()
        self._state: FileState | None = None
        with self.raw() as file:
            self.compression: Compression | None = compression_of(file.read(MAGIC_SIZE))
        with self.open() as content:
            self.head: bytes = content.read(_HEAD_SIZE)
        self._text_encoding = self.encoding or encoding_by_mark(self.head) or "utf-8"

    def _copy_of_stream(self) -> int | None:
        """A temporary copy of what can be read only once; None for a file on disk."""
        if self.name == "<stdin>":
            return self._copied(sys.stdin.buffer)
        try:
            mode = self._path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise InputError(f"{self.name}: is a directory; name a file in it")
            # Where these names are copies of a descriptor (macOS), a second open would begin in the middle.
            is_descriptor = self.name == "/dev/stdin" or self.name.startswith("/dev/fd/")
            if stat.S_ISREG(mode) and not is_descriptor:
                return None
            if not is_descriptor and not stat.S_ISFIFO(mode):
                raise InputError(f"{self.name}: is a device or a socket; name a file, or pipe one in")
            with self._path.open("rb") as stream:
                return self._copied(stream)
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror}") from error

    def __del__(self) -> None:
        copy = getattr(self, "_copy", None)
        if copy is not None:
            os.close(copy)

    def _copied(self, stream: IO[bytes]) -> int:
        if stream.isatty():
            raise InputError(f"{self.name}: is a terminal; name a file, or pipe one in")
        copy = temporary_descriptor()
        try:
            with open(copy, "wb", closefd=False) as written:
                shutil.copyfileobj(stream, written)
        except BaseException as error:
            os.close(copy)
            if not isinstance(error, OSError):
                raise
            raise InputError(f"{self.name}: cannot be copied to {tempfile.gettempdir()}: {error}") from error
        return copy

    def raw(self) -> IO[bytes]:
        """The bytes of the file, not decompressed; reading raises `InputError` if the file was changed."""
        if self._remote is not None:
            return self._remote.open()
        if self._copy is not None:
            return io.BufferedReader(CopiedFile(self._copy), _BUFFER)
        try:
            descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror}") from error
        return io.BufferedReader(WatchedFile(descriptor, self._check_state), _BUFFER)

    def _check_state(self, state: FileState) -> None:
        if self._state is None:
            self._state = state
        elif self._state != state:
            raise changed_input(self.name, self._state, state)

    def check_unchanged(self) -> None:
        """Raise `InputError` if the file was changed since it was first opened; deleting is no change."""
        if self._is_on_disk and self._path.exists():
            self._check_state(FileState.of(self._path.stat()))

    def open(self) -> IO[bytes]:
        """The content, decompressed."""
        file = self.raw()
        return file if self.compression is None else decompressed(file, self.compression, self.name)

    def open_text(self, begin: int = 0) -> IO[bytes]:
        """The content, decompressed, as UTF-8; of a plain file, from this byte on."""
        file = self.open()
        if self._text_encoding in ("utf-8", "utf-8-sig"):
            if begin:
                file.seek(begin)
            return file
        return io.BufferedReader(Utf8Converter(file, self._text_encoding, self.name), _BUFFER)

    def lines(self, file: IO[AnyStr]) -> Iterator[AnyStr]:
        """The lines of a file that `open_text` returned."""
        if self.compression is None:
            return file  # no line is longer than the file; a limit would cost 60 ns per line
        return self._limited(file)

    def _limited(self, file: IO[AnyStr]) -> Iterator[AnyStr]:
        for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE), file.read(0)), 1):
            if len(line) == LONGEST_LINE:
                raise InputError(f"{self.name}:{number}: a line of more than {LONGEST_LINE >> 20} MiB")
            yield line

    def not_utf8(self) -> InputError:
        """The error for text that is not UTF-8; names the first such line."""
        with self.open_text() as content:
            for number, line in enumerate(self.lines(content), 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    return undecodable(f"{self.name}:{number}", "utf-8", error)
        return undecodable(self.name, "utf-8", UnicodeError())

    def digest(self) -> str:
        """SHA-256 of the bytes of the file and of an encoding that the user named, in hex."""
        with self.raw() as file:
            digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
        if self.encoding not in (None, "utf-8"):
            digest.update(f"\0{self.encoding}".encode())  # the same bytes are other rows
        return digest.hexdigest()

    @property
    def is_plain(self) -> bool:
        """Whether the text is in UTF-8, not compressed and no copy, so that a session can begin inside."""
        return self._copy is None and self.compression is None and self._text_encoding.startswith("utf-8")

    def is_at(self, path: Path) -> bool:
        """Whether this is the file at ``path``."""
        return self._is_on_disk and path.exists() and path.samefile(self._path)

    @property
    def is_remote(self) -> bool:
        """Whether reading may wait for the network."""
        return self._remote is not None

    @property
    def is_downloaded(self) -> bool:
        """Whether the whole content is on this machine."""
        return self._remote is None or self._remote.is_downloaded

    @property
    def _is_on_disk(self) -> bool:
        return self._copy is None and self._remote is None
