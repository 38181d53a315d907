"""Finds the runs of this user that are alive on this machine."""

from __future__ import annotations

import socket
from typing import Any

from headrace.errors import HeadraceError
from headrace_view.control.blocking_client import ControlClient
from headrace_view.control.runtime_folder import socket_folders

_TIMEOUT = 1.0


def alive_runs() -> list[dict[str, Any]]:
    """The status of each run, in the order of their outputs. A run that does not answer is left out."""
    found = []
    for folder in socket_folders():
        for path in folder.glob("*.sock"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_TIMEOUT)
            try:
                connection.connect(str(path))
                with ControlClient(connection, path, _TIMEOUT) as client:
                    found.append(client.status())
            except (OSError, HeadraceError):
                continue
            finally:
                connection.close()
    return sorted(found, key=lambda status: str(status.get("out")))
