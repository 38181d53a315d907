"""The engine whose calls may go on without this process: one more record in the sidecar each time it changes.

Such calls are paid, and only a session with this engine fetches their results. Any other session would make
them again, so it is refused.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from headrace._support.regular_file import read_regular
from headrace.bulk.output_path import sidecar_of
from headrace.bulk.run_lock import LARGEST_SIDECAR, append_record
from headrace.errors import JournalError


class _EngineNote(msgspec.Struct):
    engine_with_calls: str | None


def engine_with_calls(sidecar: int) -> str | None:
    """The engine of which calls may go on, from the sidecar's descriptor."""
    return _engine_in(os.pread(sidecar, LARGEST_SIDECAR, 0))


def engine_left_by(out: str | os.PathLike[str]) -> str | None:
    """The engine of which calls may go on for an output, also if a run writes to it."""
    try:
        return _engine_in(read_regular(sidecar_of(out)))
    except OSError:
        return None


def _engine_in(written: bytes) -> str | None:
    for record in reversed(written.split(b"\n")[:-1]):
        try:
            return msgspec.json.decode(record, type=_EngineNote).engine_with_calls
        except msgspec.DecodeError:
            continue
    return None


def note_engine(sidecar: int, engine: str | None) -> None:
    """Note durably that calls of an engine may go on, or with None that there are none; raises `OSError`."""
    if engine_with_calls(sidecar) != engine:
        append_record(sidecar, msgspec.json.encode(_EngineNote(engine)))


def check_engine(out: Path, sidecar: int, engine: str | None) -> None:
    """Refuse a session that would make calls of another engine again.

    Args:
        out: The output, for the message.
        sidecar: The descriptor of the sidecar.
        engine: The engine of the session; None for ordinary calls.

    Raises:
        JournalError: Calls of another engine may go on.
    """
    found = engine_with_calls(sidecar)
    if found not in (None, engine):
        raise JournalError(
            f"{out}: the engine {found!r} may have calls of this run at the endpoint, which would be paid "
            "twice; name it as engine= to fetch their results, pay twice with keep_done=True, or begin a new "
            "output with fresh=True"
        )
