"""An input behind a URL: downloaded once, a block at a time, when the block is first read.

A run reads its input more than once: to check it, to send it, and to write a table. The first of these
readers downloads a block into a temporary file, and the others find it there. So nothing is downloaded twice,
a run begins to send with the first block, and Parquet is read by ranges, from its footer on.
"""

from __future__ import annotations

import io
import os
import threading
import time
from contextlib import suppress
from typing import IO, Any

from headrace._support.secret_masking import mask_url
from headrace._support.temporary_descriptor import temporary_descriptor
from headrace.bulk.sources.remote_errors import copy_errors, is_temporary, remote_error, remote_errors
from headrace.bulk.sources.urls import open_file_system
from headrace.errors import InputError

_BLOCK = 4 << 20
"""Bytes of a download. Each takes two requests: one for the block, and one that notices a change."""

_PAUSES = (0.5, 2.0)
"""Seconds before another try of a download that failed."""

_STATE = (
    *("size", "ETag", "etag", "Content-MD5", "Digest", "md5Hash", "checksum", "blob_id", "generation"),
    *("Last-Modified", "LastModified", "last_modified", "modified", "mtime", "updated", "created"),
)
"""What file systems tell about a file that changes with its content."""


class RemoteFile:
    """The bytes behind a URL, which can be read several times and from several threads.

    A server without ranges is read from its beginning; what is behind the bytes read so far waits for them.

    Args:
        url: The URL.

    Attributes:
        name: The URL without secrets.
        is_downloaded: Whether all bytes are in the temporary file.

    Raises:
        InputError: It cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self.name: str = mask_url(url)
        self._file: Any = None
        with remote_errors(self.name):
            self._files, self._path = open_file_system(url)
            info = self._files.info(self._path)
            if info.get("type") == "directory":
                raise IsADirectoryError
            self._state = _state_of(info)
            size = info.get("size")
            self._has_ranges: bool = bool(size) and bool(info.get("partial", True))
        with copy_errors(self.name):
            self._copy: int = temporary_descriptor()
        self._lock = threading.Lock()
        self._size: int | None = size if self._has_ranges else None
        self._downloaded = bytearray(-(-size // _BLOCK)) if self._has_ranges else bytearray()
        self._end = 0
        self.is_downloaded: bool = False

    def __del__(self) -> None:
        self._close_file()
        if hasattr(self, "_copy"):
            os.close(self._copy)

    def open(self) -> IO[bytes]:
        """The bytes from the beginning; reading raises `InputError` if a download fails."""
        return io.BufferedReader(_RemoteReader(self), 128 * 1024)

    @property
    def size(self) -> int:
        """The number of bytes. Without ranges, all of them are downloaded to count them."""
        while self._size is None:
            self._download_more()
        return self._size

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``, which are downloaded if they were not yet; empty at the end."""
        while (available := self._available(offset)) is None:
            if self._has_ranges:
                self._download_block(offset // _BLOCK)
            else:
                self._download_more()
        return os.pread(self._copy, min(size, available), offset)

    def _available(self, offset: int) -> int | None:
        """The number of bytes at an offset that are in the copy: 0 at the end, None before a download."""
        if self._size is not None and offset >= self._size:
            return 0
        if self._has_ranges:
            number = offset // _BLOCK
            return (number + 1) * _BLOCK - offset if self._downloaded[number] else None
        return self._end - offset if offset < self._end else None

    def _download_block(self, number: int) -> None:
        with self._lock:
            if self._downloaded[number] or not self._has_ranges:  # another reader was faster
                return
            assert self._size is not None
            begin = number * _BLOCK
            content = self._fetch(begin, min(begin + _BLOCK, self._size))
            if content is None:
                self._has_ranges, self._size = False, None
                return
            self._write(content, begin)
            self._downloaded[number] = True
            if all(self._downloaded):
                self._end_download()

    def _fetch(self, begin: int, end: int) -> bytes | None:
        """Download a range, and check that the file is still the same; None if the server has no ranges."""
        for pause in (*_PAUSES, None):
            try:
                content = self._read_range(begin, end)
                if len(content) != end - begin:
                    raise self._changed()
                self._check_state()
                return content
            except InputError:
                raise
            except Exception as error:
                self._close_file()
                if isinstance(error, ValueError):  # of HTTP; many servers do not say it before
                    return None
                if pause is None or not is_temporary(error):
                    raise remote_error(self.name, error) from None
                time.sleep(pause)
        raise AssertionError

    def _read_range(self, begin: int, end: int) -> bytes:
        if self._file is None:
            # Without a cache of its own, which would read ahead what is kept here anyway.
            self._file = self._files.open(self._path, "rb", cache_type="none")
        self._file.seek(begin)
        parts: list[bytes] = []
        while begin < end and (part := self._file.read(end - begin)):
            parts.append(part)
            begin += len(part)
        return b"".join(parts)

    def _download_more(self) -> None:
        """Download the next block of a file without ranges. It is not tried again: that would begin anew."""
        with self._lock:
            if self._size is not None:
                return
            with remote_errors(self.name):
                if self._file is None:
                    self._file = self._files.open(self._path, "rb", block_size=0)
                    self._check_state()
                content = self._file.read(_BLOCK)
            self._write(content, self._end)
            self._end += len(content)
            if not content:
                self._size = self._end
                self._end_download()

    def _check_state(self) -> None:
        if _state_of(self._files.info(self._path)) != self._state:
            raise self._changed()

    def _write(self, content: bytes, offset: int) -> None:
        with copy_errors(self.name):
            while content:
                written = os.pwrite(self._copy, content, offset)
                content, offset = content[written:], offset + written

    def _end_download(self) -> None:
        self.is_downloaded = True
        self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(Exception):
                file.close()

    def _changed(self) -> InputError:
        return InputError(
            f"{self.name}: was changed while it was read; finished items are kept, "
            "run again to continue with the new content"
        )


class _RemoteReader(io.RawIOBase):
    """One pass over a remote file."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}
        self._position = offset + (self._file.size if whence == os.SEEK_END else base[whence])
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self._file.read(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def _state_of(info: dict[str, Any]) -> dict[str, str]:
    """What changes if the file does; empty if the file system tells nothing."""
    return {name: str(info[name]) for name in _STATE if info.get(name) is not None}
