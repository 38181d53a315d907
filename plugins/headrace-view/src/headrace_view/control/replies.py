"""Finds the socket of a run, and reads its replies: what both clients have in common."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import msgspec

from headrace import ControlRefused, HeadraceError, JournalError
from headrace.bulk import Done, control_address
from headrace_view.control.errors import NoRunError
from headrace_view.file_locks import FileLocks

TIMEOUT = 10.0
"""Seconds for the reply of a run; the default."""


def find_address(out: str | os.PathLike[str]) -> str:
    """The path of the socket of the run that writes to an output.

    Raises:
        NoRunError: There is no such run, or it took no control messages.
    """
    try:
        address = control_address(out)
    except JournalError as error:
        raise NoRunError(f"no run is alive: {error}") from None
    if address is None:
        raise NoRunError(
            f"{os.fspath(out)}: no run is alive that takes control messages; it must be begun with "
            "headrace-view installed"
        )
    return address


def no_run(out: str | os.PathLike[str], error: OSError | None = None) -> NoRunError:
    """The error about a run that cannot be connected to, because of ``error``, or has ended meanwhile."""
    name = os.fspath(out)
    if isinstance(error, PermissionError):
        return NoRunError(f"{name}: its run belongs to another user; only that one can steer it")
    if error is not None and _is_locked(name):
        return NoRunError(
            f"{name}: its run takes no messages any more: it is ending, or its socket was removed; "
            "Ctrl-C in its terminal stops it"
        )
    return NoRunError(f"{name}: no run is alive; begin it again with the same command")


def _is_locked(out: str) -> bool:
    """Whether a process of this machine has locked the run of an output, as far as that can be known."""
    locks = FileLocks()
    locks.look(())
    for journal in (out, f"{out}.jsonl"):  # that of a run with a table is beside the table
        with suppress(OSError):
            if locks.holds(os.stat(f"{os.path.realpath(journal)}.journal")):
                return True
    return False


def no_answer(out: str | os.PathLike[str], timeout: float) -> NoRunError:
    """The error about a run that does not reply in time."""
    return NoRunError(f"{os.fspath(out)}: its run did not answer within {timeout:g} s")


def decode_reply(line: bytes) -> dict[str, Any]:
    """The reply as a dict.

    Raises:
        ControlRefused: The run refuses the message.
        HeadraceError: It is not a reply.
    """
    try:
        reply = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HeadraceError(f"not a reply of a run: {error}") from error
    if reply.get("type") == "refused":
        raise ControlRefused(str(reply.get("message")))
    return reply


def as_done(reply: dict[str, Any]) -> Done:
    """The reply to a message that changes something."""
    try:
        return msgspec.convert(reply, Done)
    except msgspec.ValidationError as error:
        raise HeadraceError(f"not a reply of this version of headrace: {error}") from error
