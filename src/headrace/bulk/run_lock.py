"""The lock of a run: a sidecar file that also holds records of the run, one per line.

The first record is the run's fingerprint. Later ones are another fingerprint, which counts from then on, the
cost of lines that were removed from the output, or an engine whose calls may go on.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace._support.regular_file import read_regular
from headrace.bulk.line_file import write_all
from headrace.bulk.output_path import cannot_be_written, index_of, real_path, sidecar_of
from headrace.errors import JournalError
from headrace.wire.request_bodies import OUTPUT_LIMIT_PARAMETERS, encode_json

LARGEST_SIDECAR = 1 << 24
"""Bytes of a sidecar that are read."""

_appending = threading.Lock()
"""Held while a record is added: a run may add records from two threads."""

_FORMAT = 2
_LONGEST_VALUE = 60
"""Characters of a value of the fingerprint in a message."""

_DESCRIPTIONS = {
    "input": "the input",
    "prompt": "the prompt",
    "model": "the model",
    "choices": "the choices",
    "system": "the system message",
    "parameters": "the parameters",
    "answer": "the type of the answer",
    "id_column": "the id column",
    "jinja": "the language of the templates",
    "messages": "the column of the messages",
    "examples": "the examples",
    "model_column": "the column of the model",
    "extra_body": "the extra body",
    "image": "the columns of the images",
    "file": "the columns of the files",
    "audio": "the columns of the audio",
    "max_pixels": "the size of the images",
    "task": "the task",
    "column": "the column of the texts",
    "dimensions": "the length of the vectors",
    "steps": "the steps",
    "samples": "the number of samples",
    "vote": "the vote",
    "when": "the condition",
    "output": "the output column",
}


def lock_run(
    out: Path,
    sidecar: Path,
    fingerprint: Mapping[str, Any],
    *,
    begun: bool,
    keep_done: bool = False,
    command: str | None = None,
) -> int:
    """Lock ``sidecar`` for the run that writes to ``out``.

    The fingerprint is written to a new sidecar, and compared with that of an old one.

    Args:
        out: The output, for messages.
        sidecar: The file to lock.
        fingerprint: Identifies the run.
        begun: Whether the output already contains lines.
        keep_done: Whether another fingerprint is added to an old sidecar; it counts from then on. Another id
            column is an error even so.
        command: The command of the run, without secrets; kept with a new fingerprint, and not compared.

    Returns:
        The descriptor of the sidecar, which holds the lock.

    Raises:
        JournalError: The system has no such locks (Windows), another process holds the lock, the fingerprint
            differs (the message names the difference), or there is output without a fingerprint.
    """
    lock = _lock(out, sidecar)
    with ExitStack() as refused:
        refused.callback(os.close, lock)
        try:
            if not os.fstat(lock).st_size:  # a run that is refused leaves nothing behind
                refused.callback(sidecar.unlink, missing_ok=True)
            old = _last_fingerprint(sidecar, os.pread(lock, LARGEST_SIDECAR, 0))
            if old is None and begun:
                raise JournalError(
                    f"{out}: exists, but {sidecar.name} does not identify its run; "
                    "choose another out=, or keep it as another file with fresh=True"
                )
            changed = () if old is None else _changes(old, fingerprint)
            if changed and (not keep_done or "id_column" in changed):
                raise JournalError(_refusal(out, changed[0], old or {}, fingerprint))
            if old is None or changed:
                record = {"headrace": _FORMAT, **fingerprint}
                record |= {} if command is None else {"command": command}
                if old is None:
                    record["run"] = secrets.token_hex(8)
                append_record(lock, encode_json(record))
        except OSError as error:
            raise JournalError(f"{sidecar}: {error.strerror}; nothing was sent") from error
        refused.pop_all()
    return lock


def set_aside(out: Path) -> Path | None:
    """Rename an output and its sidecar, and return the output's new path; None if there is no output.

    ``answers.jsonl`` becomes ``answers.jsonl.1``, or the next number that is free. A symbolic link stays, and
    the file that it leads to is renamed. The index is removed.

    Raises:
        JournalError: Another process works on the run, or the files cannot be renamed.
    """
    real, sidecar = real_path(out), sidecar_of(out)
    if not real.exists():
        return None
    with ExitStack() as opened:
        try:
            output = os.open(real, os.O_RDWR)
            opened.callback(os.close, output)
            lock_file(output, out)
            opened.callback(os.close, _lock(out, sidecar))
            number = 1
            while (kept := Path(f"{real}.{number}")).exists() or sidecar_of(kept).exists():
                number += 1
            # The sidecar first: after a crash in between, the output is refused and not mixed with another
            # run's.
            index_of(out).unlink(missing_ok=True)
            os.rename(sidecar, sidecar_of(kept))
            os.rename(real, kept)
        except OSError as error:
            raise JournalError(f"{out}: cannot be renamed: {error.strerror}; nothing was sent") from error
    return kept


def _lock(out: Path, sidecar: Path) -> int:
    try:
        lock = os.open(sidecar, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise JournalError(cannot_be_written(out, error)) from error
    try:
        lock_file(lock, out)
    except BaseException:
        os.close(lock)
        raise
    return lock


def lock_file(descriptor: int, out: Path) -> None:
    """Lock an open file of a run, until it is closed or the process ends.

    Args:
        descriptor: The file.
        out: The output of the run, for messages.

    Raises:
        JournalError: The system has no such locks (Windows), or another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:
        raise JournalError(
            f"{out}: a bulk run locks its output with fcntl, which this system does not have; "
            "run it on Linux or macOS"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise JournalError(f"{out}: another run is writing to it; wait until it ends") from None
    except OSError as error:
        raise JournalError(f"{out}: cannot be locked: {error.strerror}; nothing was sent") from error


def append_record(sidecar: int, record: bytes) -> None:
    """Add a line to a sidecar and sync it; a torn line at its end is removed. Raises `OSError`."""
    with _appending:
        written = os.pread(sidecar, LARGEST_SIDECAR, 0)
        end = written.rfind(b"\n") + 1
        os.ftruncate(sidecar, end)
        os.lseek(sidecar, end, os.SEEK_SET)
        _, failure = write_all(sidecar, record + b"\n")
        if failure is not None:
            raise failure
        os.fsync(sidecar)


def _last_fingerprint(sidecar: Path, written: bytes) -> dict[str, Any] | None:
    """The fingerprint that counts, None for a sidecar without one."""
    found = None
    for line in written.split(b"\n")[:-1]:
        try:
            record = msgspec.json.decode(line)
        except NOT_JSON as error:
            raise JournalError(f"{sidecar}: damaged: {error}") from None
        if found is None and (not isinstance(record, dict) or record.get("headrace") != _FORMAT):
            raise JournalError(f"{sidecar}: not a journal of this version of headrace")
        if "headrace" in record:
            found = record
    return found


def run_id(sidecar: int) -> str:
    """The id of the run of a sidecar that is open and locked."""
    return _identity(os.pread(sidecar, LARGEST_SIDECAR, 0)).id


@attrs.frozen
class RunIdentity:
    """What identifies a run for programs that do not take part in it.

    Attributes:
        id: The id of the run, the same in all its sessions.
        command: The command that began it, without secrets; None for a run from Python.
    """

    id: str
    command: str | None


def run_identity(out: str | os.PathLike[str]) -> RunIdentity:
    """The identity of the run that writes to an output, also while it does.

    Args:
        out: The output.

    Raises:
        JournalError: There is no such run.
    """
    sidecar = sidecar_of(out)
    try:
        return _identity(read_regular(sidecar))
    except (OSError, ValueError, AttributeError):
        raise JournalError(
            f"{os.fspath(out)}: is not the output of a run; {sidecar.name} is missing"
        ) from None


def _identity(written: bytes) -> RunIdentity:
    first = written.partition(b"\n")[0]
    record = msgspec.json.decode(first)
    # A run of an older version has no id of its own.
    id = record.get("run") or hashlib.blake2b(first, digest_size=8).hexdigest()
    return RunIdentity(str(id), record.get("command"))


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[str]:
    """The members of a fingerprint that differ."""
    return [key for key in new if _comparable(key, old.get(key)) != _comparable(key, new[key])]


def _refusal(out: Path, key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Why the fingerprint is refused, and what a person can do."""
    change = "" if key == "input" else f" (was {_shown(old.get(key))}, is {_shown(new.get(key))})"
    ways = "begin a new output with fresh=True"
    if key not in {"id_column", "input"}:
        ways = f"keep what is done with keep_done=True, or {ways}"
    step, _, member = key.rpartition(".")
    what = _DESCRIPTIONS.get(member, member) + (f" of step {step}" if step else "")
    return f"{out}: {what} changed since this journal began{change}; put it back, {ways}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _comparable(key: str, value: Any) -> Any:
    """A value of the fingerprint without the output limits, which may change between sessions."""
    if key != "parameters" or not isinstance(value, Mapping):
        return value
    return {name: each for name, each in value.items() if name not in OUTPUT_LIMIT_PARAMETERS} or None
