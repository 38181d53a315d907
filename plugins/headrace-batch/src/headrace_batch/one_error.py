"""One error with one line for a person, of several parts that have failed at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from headrace import HeadraceError, JournalError


@asynccontextmanager
async def one_error(folder: Path) -> AsyncIterator[None]:
    """Raise the first of the errors of several parts; they have failed mostly for one reason.

    Args:
        folder: The folder of the parts, for an error of the disk that names no file.

    Raises:
        JournalError: A file cannot be read or written.
    """
    try:
        yield
    except (OSError, BaseExceptionGroup) as errors:
        error: BaseException = errors
        if isinstance(errors, BaseExceptionGroup) and errors.split((HeadraceError, OSError))[1] is not None:
            raise
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, OSError):
            raise error from error.__cause__
        raise JournalError(
            f"{error.filename or folder}: cannot be read or written: {error.strerror}; mend that, and run "
            "the same command again"
        ) from error
