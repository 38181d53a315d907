"""The files of an input that is a folder or a pattern, as that of a run on Ray may be."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from headrace.errors import InputError


def input_files(name: str | os.PathLike[str]) -> list[tuple[Path, str]]:
    """The files that an input names, sorted, each with the prefix of its ids.

    Names that begin with a dot or an underscore are skipped. Ids that are made of a row's content begin with
    the prefix and a colon, because two files may have the same row.

    Args:
        name: A file, a folder (with all its subfolders) or a pattern.

    Returns:
        Absolute paths. The prefix is the path in the folder, and empty for an input that is one file.

    Raises:
        InputError: No file matches.
    """
    text = os.fspath(name)
    if os.path.isfile(text):
        return [(Path(os.path.abspath(text)), "")]
    if os.path.isdir(text):
        base, found = Path(text), Path(text).rglob("*")
    else:
        base = Path(os.path.dirname(glob.escape(text).partition("[")[0]) or ".")
        found = (Path(each) for each in glob.iglob(text, recursive=True))
    paths = sorted(path for path in found if path.is_file() and not _is_hidden(path.relative_to(base)))
    if not paths:
        raise InputError(f"{text}: no such file, and no files match this folder or pattern")
    return [(path.absolute(), str(path.relative_to(base))) for path in paths]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)
