"""Compressed input: detected from its first bytes, decompressed as a stream."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from typing import IO, Literal, Protocol

from headrace.errors import InputError

Compression = Literal["gzip", "zstd"]

MAGIC_SIZE = 4
"""Bytes that are needed to detect a compression."""

_BUFFER = 128 * 1024


def compression_of(head: bytes) -> Compression | None:
    """The compression of a file that begins with ``head``, None for none."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # A file of several frames may begin with a skippable frame, as pzstd writes it.
    if head == b"\x28\xb5\x2f\xfd" or (head[1:] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"
    return None


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


def decompressed(file: IO[bytes], compression: Compression, name: str) -> io.BufferedReader:
    """The decompressed content as a stream; closing it closes ``file``.

    Reading raises `InputError`, which begins with ``name``, if the content is cut short, is damaged, or needs
    a window of more than 128 MiB.
    """
    if compression == "gzip":
        errors: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)
        return io.BufferedReader(_Decompressed(gzip.GzipFile(fileobj=file), errors, file, name), _BUFFER)
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        file.close()
        raise InputError(f"{name}: is compressed with zstd; pip install 'headrace[cli]' to read it") from None
    return io.BufferedReader(
        _Decompressed(zstd.ZstdFile(file), (EOFError, zstd.ZstdError), file, name), _BUFFER
    )


class _Decompressed(io.RawIOBase):
    """A decompressing file whose errors are `InputError`s."""

    def __init__(
        self, reader: _Reader, errors: tuple[type[Exception], ...], file: IO[bytes], name: str
    ) -> None:
        self._reader = reader
        self._errors = errors
        self._file = file
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._reader.read(len(buffer))
        except EOFError:
            raise InputError(
                f"{self._name}: the compressed content is cut short; copy or download the file again"
            ) from None
        except self._errors as error:
            raise InputError(f"{self._name}: the compressed content is damaged: {error}") from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
            self._file.close()
        super().close()
