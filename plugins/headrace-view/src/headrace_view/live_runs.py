"""The runs of this machine that are alive, over their control sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from headrace import HeadraceError, JournalError
from headrace.bulk import ControlMessage, PauseRun, ResumeRun, SetLimit, StopRun, control_address
from headrace_view.control import connect
from headrace_view.web import Change, RunGone

_LONGEST_WAIT = 2.0
"""Seconds for a snapshot; the page shows the rest without it."""

_MESSAGES: Mapping[str, ControlMessage] = {"pause": PauseRun(), "resume": ResumeRun(), "stop": StopRun()}

_Sidecar: TypeAlias = tuple[int, int, int]
_Gone: TypeAlias = Literal["busy", "socket left", "socket removed"] | None


class SocketRuns:
    """Asks live runs over their sockets; see `headrace_view.web.LiveRuns`."""

    def __init__(self) -> None:
        self._sidecars: dict[Path, str] = {}
        self._silent: dict[Path, tuple[_Sidecar, _Gone]] = {}

    def status(self, out: Path) -> Mapping[str, Any] | None:
        """The snapshot of a run. One without a socket is asked again only when its sidecar has changed."""
        sidecar = self._sidecar(out)
        known, gone = self._silent.get(out, (None, None))
        if sidecar is None or known != sidecar:
            try:
                with connect(out, timeout=_LONGEST_WAIT) as client:
                    return client.status()
            except HeadraceError:
                gone = _why_silent(out)
            if gone == "busy":
                return None
            if sidecar is not None:
                self._silent[out] = sidecar, gone
        if gone is not None:
            raise RunGone(socket_left=gone == "socket left")
        return None

    def change(self, out: Path, change: Change) -> str:
        """Change a run."""
        message = _MESSAGES.get(change.type) or SetLimit(name=change.name, value=change.value)
        with connect(out) as client:
            return client.send(message).message

    def _sidecar(self, out: Path) -> _Sidecar | None:
        """What tells whether the sidecar of an output has changed; None without one."""
        path = self._sidecars.get(out)
        if path is None:
            path = self._sidecars[out] = f"{os.path.realpath(out)}.journal"
        try:
            found = os.stat(path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _why_silent(out: Path) -> _Gone:
    """Why a run does not answer; None for one that took no messages."""
    try:
        address = control_address(out)
    except JournalError:
        return None
    if address is None:
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            return "socket left"
        except FileNotFoundError:
            return "socket removed"
        except OSError:  # its queue is full
            pass
    return "busy"
