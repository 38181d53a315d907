"""Opens regular files without a wait for another program."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading, as bytes. It never waits, also if the path was replaced by a pipe.

    Raises:
        OSError: It cannot be opened, or it is not a regular file (a pipe, a socket, a device or a folder).
    """
    descriptor = os.open(path, _FLAGS)
    try:
        _check_regular(descriptor, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """The content of a file; see `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def _check_regular(descriptor: int, path: str | os.PathLike[str]) -> None:
    """Raise `OSError` if an open file is not a regular one.

    It is checked after opening: before that, the path may still be replaced.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
