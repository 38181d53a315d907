"""Errors of file systems behind URLs, as one line without secrets."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from headrace._support.secret_masking import mask_secrets
from headrace._support.text import shortened
from headrace.errors import InputError

_REFUSED = frozenset((401, 403))
_MISSING = frozenset((404, 410))
_CHANGED = frozenset((409, 412))
_FINAL = _REFUSED | _MISSING | _CHANGED | {400, 405, 406, 451}
"""Statuses that another try does not change."""

_NO_CREDENTIALS = ("credential", "anonymous caller", "unauthorized")
"""Words of the libraries of clouds about credentials that are missing."""


def is_temporary(error: Exception) -> bool:
    """Whether another try may succeed: a broken connection, a timeout, an error of the server."""
    error = _reason_of(error)
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotImplementedError):
        return False
    if isinstance(error, ValueError | TypeError) or _says(error, _NO_CREDENTIALS):
        return False
    return _status(error) not in _FINAL


def remote_error(name: str, error: Exception) -> InputError:
    """The error for a person; ``name`` is the URL without secrets."""
    error = _reason_of(error)
    status = _status(error)
    number = "" if status is None else f" (status {status})"
    if isinstance(error, FileNotFoundError) or status in _MISSING:
        return InputError(f"{name}: does not exist{number}; correct the URL")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{name}: is a directory; name a file in it")
    if isinstance(error, PermissionError) or status in _REFUSED or _says(error, _NO_CREDENTIALS):
        return InputError(
            f"{name}: access was refused{number}; set the credentials that this store needs, "
            "and check that they may read it"
        )
    if status in _CHANGED:
        return InputError(f"{name}: was changed while it was read{number}; try again")
    if isinstance(error, TimeoutError):
        return InputError(f"{name}: the server did not answer in time; try again")
    reason = shortened(mask_secrets(str(error)))
    reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return InputError(f"{name}: cannot be read{number}: {reason}; try again")


@contextmanager
def remote_errors(name: str) -> Iterator[None]:
    """Raise an `InputError` for any error of a file system.

    The original error is left out: its text often has the whole URL.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise remote_error(name, error) from None


@contextmanager
def copy_errors(name: str) -> Iterator[None]:
    """Raise an `InputError` if the local copy cannot be written."""
    try:
        yield
    except OSError as error:
        folder = tempfile.gettempdir()
        advice = "; set TMPDIR to a folder with more space" if error.errno == errno.ENOSPC else ""
        raise InputError(f"{name}: cannot be copied to {folder}: {error.strerror}{advice}") from error


def _reason_of(error: Exception) -> Exception:
    """The reason of a "not found", as which file systems over HTTP report whatever happens."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or not isinstance(cause, Exception):
        return error
    if _status(cause) in {None, *_MISSING} and not isinstance(cause, OSError):
        return error
    return cause


def _status(error: Exception) -> int | None:
    """The HTTP status in an error of aiohttp, botocore, gcsfs or huggingface_hub."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # of botocore
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    elif hasattr(error, "status"):
        found = error.status
    else:
        found = getattr(error, "code", None) or getattr(response, "status_code", None)
    return found if isinstance(found, int) and 100 <= found < 600 else None


def _says(error: Exception, words: tuple[str, ...]) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return any(word in text for word in words)
