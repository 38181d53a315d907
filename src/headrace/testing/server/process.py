"""Runs the embedded endpoint as a separate process, from trio or asyncio."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from tempfile import TemporaryFile
from typing import IO

import anyio
import attrs
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from headrace.testing.server.arguments import API_KEY_VARIABLE, format_arguments
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.certificates import temporary_certificate

READY = "listening at "
"""The beginning of the child's only line on standard output; the base URL follows."""

_START_LIMIT = 30.0
_STOP_LIMIT = 5.0


@attrs.frozen
class EndpointProcess:
    """An endpoint that runs as a separate process.

    Args:
        base_url: Its address, such as `http://127.0.0.1:43017/v1`.
        pid: Its process id.
        authority: Path of the certificate authority to trust, for `SSL_CERT_FILE`. None without TLS.
    """

    base_url: str
    pid: int
    authority: str | None = None


@asynccontextmanager
async def endpoint_process(
    behaviour: Behaviour | None = None, *, tls: bool = False
) -> AsyncIterator[EndpointProcess]:
    """Start the endpoint on a free port of 127.0.0.1, and stop it at the end of the block, also if cancelled.

    It does not use the caller's event loop, and it ends when the calling process dies. After its end, its
    standard error is written to that of the caller.

    Args:
        behaviour: Latency, limits and faults. Default: it answers at once, without limits or faults.
        tls: Serve HTTP/2 and HTTP/1.1 over TLS, with a temporary certificate.

    Raises:
        ImportError: TLS needs `headrace[serve-tls]`.
        RuntimeError: The process did not start; the message contains its standard error.
    """
    behaviour = behaviour or Behaviour()
    environment = {name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE}
    if behaviour.api_key is not None:
        environment[API_KEY_VARIABLE] = behaviour.api_key
    command = [sys.executable, "-m", "headrace.testing.server", "--port=0", "--until-stdin-closes"]
    with ExitStack() as stack:
        certificate = stack.enter_context(temporary_certificate()) if tls else None
        # A file and not a pipe for standard error: a child with a full pipe blocks until it is read.
        errors = stack.enter_context(TemporaryFile())
        process = await anyio.open_process(
            command + format_arguments(behaviour, certificate),
            stdin=subprocess.PIPE,
            stderr=errors,
            env=environment,
            # Ctrl-C in a terminal goes to the whole process group; calls in flight still need the endpoint.
            start_new_session=sys.platform != "win32",
        )
        try:
            authority = None if certificate is None else certificate.authority
            yield EndpointProcess(await _base_url(process, errors), process.pid, authority)
        finally:
            await _stop(process)
            sys.stderr.write(_read_stderr(errors))


async def _base_url(process: Process, errors: IO[bytes]) -> str:
    assert process.stdout is not None
    reason = "it ended before it was ready"
    try:
        with anyio.fail_after(_START_LIMIT):
            line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 1000)
    except TimeoutError:
        reason = f"it was not ready within {_START_LIMIT:g} s"
    except (anyio.IncompleteRead, anyio.DelimiterNotFound):
        pass
    else:
        return line.decode().removeprefix(READY).strip()
    await _stop(process)
    raise RuntimeError(f"the embedded endpoint did not start: {reason}\n{_read_stderr(errors)}".rstrip())


async def _stop(process: Process) -> None:
    # Shielded because a cancelled block must not leave the process behind. Each wait has a time limit.
    if process.returncode is None:
        process.terminate()
        with anyio.move_on_after(_STOP_LIMIT, shield=True):
            await process.wait()
    if process.returncode is None:
        process.kill()
    with anyio.move_on_after(_STOP_LIMIT, shield=True):
        await process.aclose()


def _read_stderr(errors: IO[bytes]) -> str:
    """The standard error of the ended process, since the previous call of this function."""
    # The process shares the file position, which is now at the end of its output.
    errors.seek(0)
    text = errors.read().decode(errors="replace")
    errors.seek(0)
    errors.truncate()
    return text
