"""Where the index of a journal is: a hidden folder beside it, or else one in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

_NAMES = "[0-9]*.sqlite"


def _number(database: Path) -> int:
    return int(database.stem) if database.stem.isdecimal() else 0


@attrs.define
class IndexPlace:
    """The folder of an index, locked for this process; a context manager.

    Args:
        journal: The output of the run.

    Attributes:
        database: The SQLite file. An index that is made anew has another name: no reader meets half of it.
        folder: The folder. If another process has the usual one, a new one, which is removed at the end.
    """

    journal: Path
    folder: Path = attrs.field(init=False)
    database: Path = attrs.field(init=False)
    _lock: int = attrs.field(init=False, default=-1)
    _temporary: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._take()

    def _take(self) -> None:
        for folder in self._candidates():
            try:
                os.makedirs(folder, mode=0o700, exist_ok=True)
                lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o600)
            except OSError:
                continue
            try:
                if not stat.S_ISREG(os.fstat(lock).st_mode):
                    raise OSError("is not a regular file")
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            self.folder, self._lock = folder, lock
            break
        else:
            self.folder, self._temporary = Path(tempfile.mkdtemp(prefix="headrace-view-")), True
        self.database = max(self.folder.glob(_NAMES), key=_number, default=self.folder / "1.sqlite")

    @property
    def lock(self) -> int | None:
        """The descriptor of the lock of the folder; None for a temporary one."""
        return self._lock if self._lock >= 0 else None

    def take_again(self) -> None:
        """Take a folder again, after this one was deleted; the index has another name than the lost one."""
        lost = self.database
        self.close()
        self._take()
        if self.database == lost:
            self.database = self.next_database()

    def next_database(self) -> Path:
        """The name of an index that is made anew."""
        return self.folder / f"{_number(self.database) + 1}.sqlite"

    def use(self, database: Path) -> None:
        """Let an index replace the one before, which is deleted."""
        before, self.database = self.database, database
        if before != database:
            for path in self.folder.glob(f"{before.name}*"):
                with suppress(OSError):  # it is in nobody's way
                    path.unlink()

    def _candidates(self) -> list[Path]:
        real = Path(os.path.realpath(self.journal))
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        name = hashlib.blake2b(os.fsencode(real), digest_size=12).hexdigest()
        return [real.with_name(f".{real.name}.view"), cache / "headrace" / "view" / name]

    def close(self) -> None:
        """Release the folder; a temporary one is removed."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._temporary = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
