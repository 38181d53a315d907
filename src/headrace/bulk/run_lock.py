"""The lock of a run: a sidecar file that also holds the run's fingerprint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace.bulk.line_file import write_all
from headrace.errors import JournalError
from headrace.wire.request_bodies import OUTPUT_LIMIT_PARAMETERS, encode_json

_FORMAT = 1
_DESCRIPTIONS = {
    "input": "the input file",
    "prompt": "the prompt",
    "model": "the model",
    "choices": "the choices",
    "system": "the system message",
    "parameters": "the parameters",
    "answer": "the type of the answer",
}


def lock_run(
    out: Path, sidecar: Path, fingerprint: Mapping[str, Any], *, begun: bool, command: str | None = None
) -> int:
    """Lock ``sidecar`` for the run that writes to ``out``.

    The fingerprint is written to a new sidecar, and compared with that of an old one.

    Args:
        out: The output, for messages.
        sidecar: The file to lock.
        fingerprint: Identifies the run.
        begun: Whether the output already contains lines.
        command: The command that begins the run, without secrets; kept for reports, and not compared.

    Returns:
        The descriptor of the sidecar, which holds the lock.

    Raises:
        JournalError: The system has no such locks (Windows), another process holds the lock, the fingerprint
            differs (the message names the difference), or there is output without a fingerprint.
    """
    try:
        import fcntl
    except ImportError:
        raise JournalError(
            f"{out}: a bulk run locks its output with fcntl, which this system does not have; "
            "run it on Linux or macOS"
        ) from None
    try:
        lock = os.open(sidecar, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise JournalError(f"{out}: cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"{out}: another run is writing to it; wait until it ends") from None
        written = os.pread(lock, 1 << 24, 0)
        first, newline, _ = written.partition(b"\n")
        if newline:
            _compare(out, sidecar, first, fingerprint)
        elif begun:
            raise JournalError(
                f"{out}: exists, but {sidecar.name} does not identify its run; "
                "choose another out=, or move the file away"
            )
        else:
            os.ftruncate(lock, 0)
            os.lseek(lock, 0, os.SEEK_SET)
            record = {"headrace": _FORMAT, **fingerprint} | ({} if command is None else {"command": command})
            _, failure = write_all(lock, encode_json(record) + b"\n")
            if failure is not None:
                raise failure
            os.fsync(lock)
    except OSError as error:
        os.close(lock)
        raise JournalError(f"{sidecar}: {error.strerror}; nothing was sent") from error
    except BaseException:
        os.close(lock)
        raise
    return lock


def _compare(out: Path, sidecar: Path, written: bytes, fingerprint: Mapping[str, Any]) -> None:
    try:
        old = msgspec.json.decode(written)
    except NOT_JSON as error:
        raise JournalError(f"{sidecar}: damaged: {error}") from None
    if not isinstance(old, dict) or old.get("headrace") != _FORMAT:
        raise JournalError(f"{sidecar}: not a journal of this version of headrace")
    for key, value in fingerprint.items():
        if _comparable(key, old.get(key)) != _comparable(key, value):
            change = "" if key == "input" else f" (was {old.get(key)!r}, is {value!r})"
            raise JournalError(
                f"{out}: {_DESCRIPTIONS.get(key, key)} changed since this journal began{change}; "
                "change it back to resume, or choose another out="
            )


def _comparable(key: str, value: Any) -> Any:
    """A value of the fingerprint without the output limits, which may change between sessions."""
    if key != "parameters" or not isinstance(value, Mapping):
        return value
    return {name: each for name, each in value.items() if name not in OUTPUT_LIMIT_PARAMETERS} or None
