"""Where the content of a message part comes from: a path, bytes, or a data URI."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from headrace.errors import RequestError

Source: TypeAlias = str | os.PathLike[str] | bytes
"""A path, bytes, a data URI or a URL."""

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_MOST_SHOWN = 80
"""How many characters of a path or URL a message shows."""


def is_url(source: Source) -> bool:
    """Whether a source is an http or https URL."""
    return isinstance(source, str) and source[:8].lower().startswith(("http://", "https://"))


def check_source(function: str, source: object) -> None:
    """Raise `RequestError` for a source of another type, or a URL of another scheme."""
    if not isinstance(source, (str, bytes, os.PathLike)):
        raise RequestError(
            f"{function} takes a path, bytes, a data URI or a URL, not {type(source).__name__}"
        )
    scheme = _SCHEME.match(source) if isinstance(source, str) else None
    if scheme and not is_url(scheme[0]):
        raise RequestError(
            f"{described(function, scheme[0] + '…')}: {scheme[1]} URLs cannot be read; pass a path or bytes"
        )


def described(function: str, source: Source) -> str:
    """A source for a message, like ``image 'rose.png'``; its content is not shown."""
    if isinstance(source, bytes):
        return f"{function} from bytes"
    text = os.fspath(source)
    if text[:5].lower() == "data:":
        text = text.partition(",")[0] + ",…"
    elif is_url(text):
        text = text.partition("?")[0]  # a query may hold a key
    return f"{function} {text if len(text) <= _MOST_SHOWN else '…' + text[-_MOST_SHOWN:]!r}"


def read_source(function: str, source: Source, max_bytes: int | None) -> bytes:
    """The content of a source that is not a URL.

    Args:
        function: The name of the public function, for messages.
        source: The source.
        max_bytes: A larger file is not read; None for no limit.

    Raises:
        RequestError: It cannot be read, is empty, or is too large.
    """
    if isinstance(source, bytes):
        content = source
    elif isinstance(source, str) and _is_data_uri(source):
        content = _data_of(function, source)
    else:
        content = _read_file(function, source, max_bytes)
    if not content:
        raise RequestError(f"{described(function, source)} is empty")
    check_size(function, source, len(content), max_bytes)
    return content


def check_size(function: str, source: Source, size: int, max_bytes: int | None) -> None:
    """Raise `RequestError` for more than ``max_bytes``."""
    if max_bytes is not None and size > max_bytes:
        smaller = "scale it down with max_pixels=" if function == "image" else "send a smaller one"
        raise RequestError(
            f"{described(function, source)} has {size:,} bytes, more than max_bytes={max_bytes}; {smaller}"
        )


def check_path(function: str, source: Source, max_bytes: int | None) -> None:
    """Raise `RequestError` for a path that is not one of a file, or of a larger one; other sources pass."""
    if isinstance(source, bytes) or is_url(source) or _is_data_uri(source):
        return
    with _path_errors(function, source):
        status = os.stat(source)
        # A pipe or a device could block, or never end.
        if not stat.S_ISREG(status.st_mode):
            raise RequestError(f"{described(function, source)} is not a file; pass the path of a file")
        check_size(function, source, status.st_size, max_bytes)


def _read_file(function: str, path: str | os.PathLike[str], max_bytes: int | None) -> bytes:
    check_path(function, path, max_bytes)
    with _path_errors(function, path), open(path, "rb") as file:
        return file.read()


@contextmanager
def _path_errors(function: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise a `RequestError` for a path that the system refuses."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:  # a path with a null character
        if isinstance(error, RequestError):
            raise
        reason = str(error)
    else:
        return
    raise RequestError(f"{described(function, path)} cannot be read: {reason}; check the path")


def _is_data_uri(source: str | os.PathLike[str]) -> bool:
    return isinstance(source, str) and source[:5].lower() == "data:"


def _data_of(function: str, uri: str) -> bytes:
    head, comma, data = uri.partition(",")
    if not comma:
        raise RequestError(f"{described(function, uri)} is not a data URI: it has no comma before the data")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise RequestError(f"{described(function, uri)} is not valid base64: {error}") from None
