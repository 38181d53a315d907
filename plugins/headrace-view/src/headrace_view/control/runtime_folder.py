"""Where the sockets of runs are: a folder that only the user of the runs can enter.

The path of a Unix socket has at most 103 bytes on macOS, and 107 on Linux. So names are short, and the first
folder is taken with which the path is short enough.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from headrace import HeadraceError

_LONGEST_PATH = 103 if sys.platform == "darwin" else 107
"""Bytes of the path of a socket."""


def socket_path(out: str | os.PathLike[str]) -> Path:
    """The path of the socket of the run that writes to an output. Its folder exists and is private.

    A run has locked its output, so no other run that is alive has the same path.

    Raises:
        HeadraceError: No folder for sockets can be used.
    """
    name = hashlib.blake2b(os.fsencode(os.path.realpath(out)), digest_size=8).hexdigest() + ".sock"
    problems = []
    for folder in socket_folders():
        path = folder / name
        if len(os.fsencode(path)) > _LONGEST_PATH:
            problems.append(f"{folder}: too long for the path of a socket")
            continue
        try:
            _make_private(folder)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
        else:
            return path
    raise HeadraceError(f"no folder for its socket: {'; '.join(problems)}; set XDG_RUNTIME_DIR")


def socket_folders() -> Iterator[Path]:
    """The folders in which sockets of runs can be, the first choice first; they may not exist."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime):
        yield Path(runtime, "headrace")
    own = f"headrace-{os.getuid()}"
    yield Path(tempfile.gettempdir(), own)
    if tempfile.gettempdir() != "/tmp":  # noqa: S108 - its owner and mode are checked
        yield Path("/tmp", own)  # noqa: S108


def _make_private(folder: Path) -> None:
    """Create a folder, or check that it is one of this user that no one else can enter; raises `OSError`."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()  # a symbolic link may lead to a folder of someone else
        if not stat.S_ISDIR(found.st_mode):
            raise OSError("is not a folder") from None
        if found.st_uid != os.geteuid():
            raise OSError("belongs to another user") from None
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise OSError("others can enter it; make it private with chmod 700") from None
