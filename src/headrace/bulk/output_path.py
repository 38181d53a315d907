"""The path of an output: which files can be one, and where its sidecar and its index are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from headrace.errors import JournalError

_FOLDER_SIDECAR, _SHARDS = "run.journal", "shard-*.jsonl"
"""What is in an output that is a folder: that of a run on Ray."""

_KINDS = {
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


def real_path(out: str | os.PathLike[str]) -> Path:
    """The absolute path of the file that an output leads to, without symbolic links."""
    return Path(os.path.realpath(out))


def sidecar_of(out: str | os.PathLike[str]) -> Path:
    """The sidecar of an output: beside the real file, so that all symbolic links to it have the same one.

    An output that is a folder has its sidecar in it.
    """
    real = os.path.realpath(out)
    return Path(real, _FOLDER_SIDECAR) if os.path.isdir(real) else Path(f"{real}.journal")


def shards_of(out: Path) -> list[Path]:
    """The files with the lines of an output that is a folder, sorted by name; empty for a file."""
    return sorted(out.glob(_SHARDS))


def steps_journal_of(out: str | os.PathLike[str]) -> Path:
    """The journal of the steps of an output: beside the real file, as its sidecar is."""
    return Path(f"{os.path.realpath(out)}.steps")


def index_of(out: str | os.PathLike[str]) -> Path:
    """The index of an output: beside the real file, like its sidecar."""
    return Path(f"{os.path.realpath(out)}.index")


def check_output(out: Path) -> None:
    """Check that an output is a regular file, or can be created as one.

    Raises:
        JournalError: It is something else, or its directory does not exist.
    """
    try:
        found = out.stat()
    except FileNotFoundError:
        folder = real_path(out).parent if out.is_symlink() else out.parent
        if folder.is_dir():
            return
        raise JournalError(f"{out}: the directory {folder} does not exist; create it first") from None
    except OSError as error:
        raise JournalError(cannot_be_written(out, error)) from error
    if stat.S_ISDIR(found.st_mode):
        raise JournalError(f"{out}: is a directory; name a file in it")
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "special file")
        raise JournalError(f"{out}: is a {kind}; the output must be a file, or - for stdout")
    if _is_stdout(found):
        raise JournalError(f"{out}: stdout is written to this file; name another file, or - for stdout")


def cannot_be_written(out: Path, error: OSError) -> str:
    """The message about an output that cannot be opened."""
    return f"{out}: cannot be written: {error.strerror}; make it writable, or name another file"


def _is_stdout(found: os.stat_result) -> bool:
    try:
        return os.path.samestat(found, os.fstat(1))
    except OSError:  # this process has no stdout
        return False
