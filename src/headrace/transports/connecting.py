"""Opens connections: TCP, then TLS where the URL says https; foreign errors become headrace's here."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import resource
import socket
import ssl
from collections.abc import Iterator

import anyio
import certifi

from headrace.errors import ConnectError, TLSError
from headrace.transports.streams import AnyioStream, AsyncioStream, Stream


def default_ssl_context() -> ssl.SSLContext:
    """A verifying context on the system's store of certificates, or certifi's where the system has none.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured, as OpenSSL does.
    """
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and not (paths.capath and os.listdir(paths.capath)):
        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


async def connect(host: str, port: int, ssl_context: ssl.SSLContext | None) -> Stream:
    """Connect to ``host``; with ``ssl_context``, verified TLS whose name is ``host``.

    Raises `TLSError` for a failed handshake or certificate, `ConnectError` for the rest.
    """
    where = f"{host}:{port}"
    try:
        return await _open(host, port, ssl_context)
    except ssl.SSLCertVerificationError as error:
        raise TLSError(f"the certificate of {where} is not valid: {error.verify_message}") from error
    except ssl.SSLError as error:
        hint = "; does it speak TLS at all?" if error.reason == "WRONG_VERSION_NUMBER" else ""
        raise TLSError(f"TLS with {where} failed: {error.reason or error}{hint}") from error
    except (anyio.BrokenResourceError, anyio.EndOfStream, ConnectionAbortedError) as error:
        raise ConnectError(f"{where} closed the connection during the TLS handshake") from error
    except OSError as error:
        raise ConnectError(_explained(where, error)) from error


async def _open(host: str, port: int, ssl_context: ssl.SSLContext | None) -> Stream:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # trio
        if ssl_context is None:
            return AnyioStream(await anyio.connect_tcp(host, port))
        return AnyioStream(
            await anyio.connect_tcp(
                host, port, ssl_context=ssl_context, tls_hostname=host, tls_standard_compatible=False
            )
        )
    _, stream = await loop.create_connection(
        AsyncioStream, host, port, ssl=ssl_context, server_hostname=host if ssl_context else None
    )
    return stream


def _explained(where: str, error: OSError) -> str:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return f"the host of {where} does not resolve ({cause.strerror}); check base_url"
        if _numbers(cause) & {errno.EMFILE, errno.ENFILE}:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            return (
                f"no connection to {where}: this process may open {limit} files; "
                "raise it with 'ulimit -n', or lower max_in_flight"
            )
    cause = causes[-1]
    said = os.strerror(cause.errno) if cause.errno else str(cause)
    hint = "; is the endpoint running, and base_url right?" if errno.ECONNREFUSED in _numbers(cause) else ""
    return f"no connection to {where}: {said}{hint}"


def _numbers(error: OSError) -> set[int]:
    # asyncio joins the errors of several addresses into one text.
    numbers = {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))}
    return numbers | ({error.errno} if error.errno else set())


def _causes(error: BaseException | None) -> Iterator[OSError]:
    """The OSErrors that anyio's connect wraps, outermost first."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _causes(one)
    elif isinstance(error, OSError):
        yield error
        yield from _causes(error.__cause__)
