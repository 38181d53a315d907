"""What only the library's own transport can do goes to that, through headrace's policies all the same."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from anyio.streams.tls import TLSAttribute

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve

Through = Callable[..., Any]
pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(library: ModuleType, authority: trustme.CA) -> ssl.SSLContext:
    context: ssl.SSLContext = library.create_ssl_context()
    authority.configure_trust(context)
    return context


async def test_a_client_certificate(
    serve: Serve, through: Through, library: ModuleType, authority: trustme.CA, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    pem = tmp_path / "client.pem"
    authority.issue_cert("someone@shop.example").private_key_and_cert_chain_pem.write_to_path(str(pem))
    shown: list[Any] = []

    async def script(peer: Peer) -> None:
        shown.append(peer.stream.extra(TLSAttribute.peer_certificate))
        await peer.answer_all()

    async with serve(script, context) as server:
        # In the context, which is how both libraries want it today; it goes over the native transport.
        with_certificate = trusting(library, authority)
        with_certificate.load_cert_chain(pem)
        async with through(verify=with_certificate) as client:
            assert (await client.get(f"{server.url}/a")).json() == {"target": "/v1/a"}
        async with through(verify=trusting(library, authority)) as client:
            with pytest.raises((library.ConnectError, library.ReadError, library.RemoteProtocolError)):
                await client.get(f"{server.url}/b")
    assert shown[0]["subjectAltName"] == (("email", "someone@shop.example"),)
