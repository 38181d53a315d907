"""A client of the control socket that blocks, for commands."""

from __future__ import annotations

import os
import socket
from types import TracebackType
from typing import Any, Self

from headrace.bulk import ControlMessage, Done, GetStatus, encode_message
from headrace_view.control.replies import TIMEOUT, as_done, decode_reply, find_address, no_answer, no_run


class ControlClient:
    """A connection to a run; `connect` makes it. A context manager that closes it."""

    def __init__(self, connection: socket.socket, out: str | os.PathLike[str], timeout: float) -> None:
        self._connection = connection
        self._out = out
        self._timeout = timeout
        self._lines = connection.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._connection.close()

    def status(self) -> dict[str, Any]:
        """The snapshot of the run, see `headrace.bulk.RunSnapshot.to_json`.

        Raises:
            NoRunError: The run has ended meanwhile, or does not answer.
        """
        return self._ask(GetStatus())

    def send(self, message: ControlMessage) -> Done:
        """Send a message that changes something, and return what was done.

        Raises:
            ControlRefused: The run refuses it.
            NoRunError: The run has ended meanwhile, or does not answer.
        """
        return as_done(self._ask(message))

    def _ask(self, message: ControlMessage) -> dict[str, Any]:
        encoded = encode_message(message)
        try:
            self._connection.sendall(encoded + b"\n")
            line = self._lines.readline()
        except TimeoutError:
            raise no_answer(self._out, self._timeout) from None
        except OSError:
            raise no_run(self._out) from None
        if not line.endswith(b"\n"):
            raise no_run(self._out)
        return decode_reply(line)


def connect(out: str | os.PathLike[str], *, timeout: float = TIMEOUT) -> ControlClient:
    """Connect to the run that writes to an output.

    Args:
        out: The output; that of a run that writes a table is the table.
        timeout: Seconds to wait for each reply.

    Returns:
        The connection; use it in a ``with`` block.

    Raises:
        NoRunError: No run is alive that takes control messages.
    """
    address = find_address(out)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(address)
    except TimeoutError:
        connection.close()
        raise no_answer(out, timeout) from None
    except OSError as error:
        connection.close()
        raise no_run(out, error) from None
    return ControlClient(connection, out, timeout)
