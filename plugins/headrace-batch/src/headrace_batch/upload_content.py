"""The body of an upload: a form with a file, which is read in parts while it is sent."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class UploadContent:
    """A multipart form with some fields and a file; a body that transports read in parts.

    Attributes:
        content_type: The value of the header.
    """

    def __init__(self, file: int, size: int, name: str, fields: Mapping[str, str]) -> None:
        boundary = f"headrace-{secrets.token_hex(16)}"
        self.content_type: str = f"multipart/form-data; boundary={boundary}"
        written = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
            for field, value in fields.items()
        )
        self._before = (
            f'{written}--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        ).encode()
        self._after = f"\r\n--{boundary}--\r\n".encode()
        self._file = file
        self._size = size

    def __len__(self) -> int:
        return len(self._before) + self._size + len(self._after)

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        begin = len(self._before)
        end = begin + self._size
        middle = b""
        if start < end and stop > begin:
            first, last = max(start, begin) - begin, min(stop, end) - begin
            middle = os.pread(self._file, last - first, first)
        tail = self._after[max(0, start - end) : max(0, stop - end)]
        return self._before[start:stop] + middle + tail


@contextmanager
def upload_content(path: Path, name: str, fields: Mapping[str, str]) -> Iterator[UploadContent]:
    """The form with the file at ``path``, called ``name`` at the endpoint; the file is open in the block."""
    file = os.open(path, os.O_RDONLY)
    try:
        yield UploadContent(file, os.fstat(file).st_size, name, fields)
    finally:
        os.close(file)
