"""Third-party servers over TLS and HTTP/2: nginx, granian and hypercorn."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import trustme
from benchmarks.nginx import await_port, find_nginx, free_port, stop
from tests.servers.nginx import Nginx, running

from headrace import Client
from headrace.testing.server.process import READY
from headrace.transports.native import NativeTransport

LOOPS = [
    pytest.param(("trio", {}), id="trio"),
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
]


@pytest.fixture(params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Both event loops."""
    return request.param


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The authority of the servers' certificates."""
    return trustme.CA()


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate and its key."""
    path = tmp_path_factory.mktemp("certificate") / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """An SSL context that trusts the servers."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def connect(trusting: ssl.SSLContext) -> Callable[..., Client]:
    """``connect(url, http2=…, **keywords)``: a client without policies."""

    def make(url: str, *, http2: Any = "auto", **keywords: Any) -> Client:
        transport = NativeTransport(ssl_context=trusting, http2=http2)
        usual: dict[str, Any] = {"model": "m", "policies": [], "timeout": 20.0}
        return Client(base_url=url, transport=transport, **usual | keywords)

    return make


@pytest.fixture
def nginx(certificate: Path, tmp_path: Path) -> Callable[..., AbstractContextManager[Nginx]]:
    """``with nginx(…) as server``: see `tests.servers.nginx.running`. Without nginx the test is skipped."""
    installed = find_nginx()
    if installed is None:
        pytest.skip("needs nginx with its echo module: apt install nginx-light libnginx-mod-http-echo")
    return lambda **options: running(installed, tmp_path, certificate, **options)


@pytest.fixture(scope="session")
def hypercorn(certificate: Path) -> Iterator[str]:
    """The URL of the embedded endpoint on hypercorn."""
    command = [sys.executable, "-m", "headrace.testing.server", "--port=0", "--until-stdin-closes"]
    process = subprocess.Popen(
        [*command, f"--certificate={certificate}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix(READY).strip()
        process.communicate(timeout=30)


@pytest.fixture(scope="session")
def granian(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the embedded endpoint's application on granian."""
    pytest.importorskip("granian")
    folder = tmp_path_factory.mktemp("granian")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "granian", "--interface", "asgi", "--http", "auto", "--factory"),
            *("--no-log", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--ssl-certificate", str(folder / "server.pem"), "--ssl-keyfile", str(folder / "key.pem")),
            "headrace.testing.server:create_app",
        ],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            await_port(process, port)
            yield f"https://127.0.0.1:{port}/v1"
        finally:
            stop(process)
