"""Client certificates: an unusable one is a one-line error before anything is sent."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from anyio.streams.tls import TLSAttribute
from cryptography.hazmat.primitives import serialization
from tests.transports.conftest import server_context
from tests.transports.connecting.test_tls import refusing_handshakes

from headrace import Client, Secret, SettingsError, TLSError
from headrace.settings import load_settings
from headrace.transports.factory import make_transport
from headrace.transports.httpx import HttpxTransport
from headrace.transports.native import NativeTransport

if TYPE_CHECKING:
    from tests.transports.conftest import Peer, Serve

on_both = pytest.mark.anyio
PASSWORD = "canary-of-the-key"


class Files:
    """A certificate and its key, in files of each kind."""

    def __init__(self, authority: trustme.CA, folder: Path) -> None:
        issued = authority.issue_cert("someone@shop.example")
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        self.folder = folder
        self.both = self.write("both.pem", issued.private_key_and_cert_chain_pem.bytes())
        self.certificate = self.write("certificate.pem", issued.cert_chain_pems[0].bytes())
        self.key = self.write("key.pem", issued.private_key_pem.bytes())
        self.others_key = self.write("other.pem", authority.issue_cert("x").private_key_pem.bytes())
        self.rubbish = self.write(
            "rubbish.pem", b"-----BEGIN CERTIFICATE-----\nx\n-----BEGIN PRIVATE KEY-----\ny\n"
        )
        self.empty = self.write("empty.pem", b"")
        for name, form in (
            ("pkcs8", serialization.PrivateFormat.PKCS8),
            ("traditional", serialization.PrivateFormat.TraditionalOpenSSL),
        ):
            encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
            self.write(f"{name}.pem", key.private_bytes(serialization.Encoding.PEM, form, encryption))

    def write(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def path(self, name: str) -> str:
        return str(self.folder / name)


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(authority, tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def demanding(authority: trustme.CA) -> ssl.SSLContext:
    """The SSL context of a server that requires a certificate of this authority."""
    context = server_context(authority, "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    return context


@pytest.fixture
def trusted_by_all(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def keywords(files: Files, kind: str) -> dict[str, Any]:
    if kind == "one file":
        return {"cert": files.both}
    if kind == "two files":
        return {"cert": files.certificate, "cert_key": files.key}
    return {
        "cert": files.certificate,
        "cert_key": files.path(f"{kind}.pem"),
        "cert_password": Secret(PASSWORD),
    }


@on_both
@pytest.mark.usefixtures("trusted_by_all")
@pytest.mark.parametrize("transport", ["native", "httpx"])
@pytest.mark.parametrize("kind", ["one file", "two files", "pkcs8", "traditional"])
async def test_a_certificate_from_settings_is_shown(
    serve: Serve, files: Files, demanding: ssl.SSLContext, transport: str, kind: str
) -> None:
    shown: list[Any] = []

    async def script(peer: Peer) -> None:
        shown.append(peer.stream.extra(TLSAttribute.peer_certificate))
        await peer.answer_all()

    async with serve(script, demanding) as server:
        options = {"transport": transport} | keywords(files, kind)
        async with Client(base_url=server.url, model="m", policies=[], **options) as client:
            assert (await client.request("POST", "/a", {})).status == 200
    assert shown[0]["subjectAltName"] == (("email", "someone@shop.example"),)


@on_both
@pytest.mark.usefixtures("trusted_by_all")
async def test_without_a_certificate_the_error_says_how_to_set_one(authority: trustme.CA) -> None:
    with refusing_handshakes(authority, ssl.TLSVersion.TLSv1_3) as url:
        async with Client(base_url=url, model="m", policies=[]) as client:
            for _ in range(2):
                with pytest.raises(TLSError, match="cert="):
                    await client.request("POST", "/a", {})


@pytest.mark.parametrize("kind", ["native", "httpx"])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nowhere.pem"], "nowhere.pem cannot be read: No such file"),
        ([""], "cannot be read: Is a directory"),
        (["empty.pem"], "empty.pem does not contain a certificate"),
        (["certificate.pem"], "certificate.pem does not contain a private key"),
        (["key.pem"], "key.pem does not contain a certificate"),
        (["certificate.pem", "nowhere.pem"], "nowhere.pem cannot be read"),
        (["certificate.pem", "certificate.pem"], "certificate.pem does not contain a private key"),
        (
            ["certificate.pem", "other.pem"],
            "other.pem does not belong to the certificate in .*certificate.pem",
        ),
        (["rubbish.pem"], "rubbish.pem cannot be loaded"),
        (["certificate.pem", "pkcs8.pem"], "pkcs8.pem is encrypted; pass its password"),
        (["certificate.pem", "traditional.pem"], "traditional.pem is encrypted; pass its password"),
        (["certificate.pem", "pkcs8.pem", "wrong-canary"], "does not decrypt the key in .*pkcs8.pem"),
        (
            ["certificate.pem", "traditional.pem", "wrong-canary"],
            "does not decrypt the key in .*traditional.pem",
        ),
        (["certificate.pem", "pkcs8.pem", "canary" * 1000], "does not decrypt the key in .*pkcs8.pem"),
    ],
)
def test_an_unusable_certificate_is_an_error_that_names_its_file(
    files: Files, names: list[str], message: str, kind: str
) -> None:
    paths: dict[str, Any] = dict(
        zip(("cert", "cert_key"), [files.path(name) for name in names[:2]], strict=False)
    )
    password: dict[str, Any] = {"cert_password": Secret(names[2])} if len(names) == 3 else {}
    with pytest.raises(SettingsError, match=message) as caught:
        Client(
            base_url="https://llm.example/v1", api_key="k", policies=[], transport=kind, **paths, **password
        )
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cert", [(), ("a", "b", "c", "d"), (1,), (None, "key.pem"), 7, ["client.pem"]])
def test_a_value_that_is_not_a_certificate_is_rejected(cert: Any) -> None:
    with pytest.raises(SettingsError, match="cert"):
        NativeTransport(cert=cert)


def test_a_transport_accepts_what_httpx_accepts(files: Files) -> None:
    for cert in (
        files.both,
        Path(files.both),
        (files.certificate, files.key),
        (files.certificate, files.path("pkcs8.pem"), PASSWORD),
    ):
        NativeTransport(cert=cert)
        HttpxTransport(cert=cert)


def test_a_key_or_password_without_a_certificate_is_rejected() -> None:
    for name in ("cert_key", "cert_password"):
        settings = load_settings({name: "x"}, environ={})
        with pytest.raises(SettingsError, match=f"{name} has no effect without cert"):
            make_transport(settings.core)


def test_passwords_in_a_file_are_rejected(tmp_path: Path) -> None:
    for line in ('cert_password = "canary"', 'proxy = "http://me:canary@proxy.test"'):
        (tmp_path / "headrace.toml").write_text(line)
        with pytest.raises(SettingsError, match="must not be in a file; set HEADRACE_") as caught:
            load_settings({}, environ={}, directory=tmp_path)
        assert "canary" not in str(caught.value)
    (tmp_path / "headrace.toml").write_text('proxy = "http://proxy.test"')
    environ = {"HEADRACE_CERT_PASSWORD": "canary", "HEADRACE_CERT": "c.pem", "HEADRACE_CERT_KEY": "k.pem"}
    core = load_settings({}, environ=environ, directory=tmp_path).core
    assert core.client_certificate is not None
    assert core.client_certificate[:2] == ("c.pem", "k.pem")
    assert core.proxy is not None
    assert core.proxy.reveal() == "http://proxy.test"
    assert "canary" not in repr(core)


def test_a_client_of_httpx_has_its_own_certificate(files: Files) -> None:
    import httpx

    either: list[dict[str, Any]] = [{"cert": files.both}, {"proxy": "http://proxy.test"}]
    for options in either:
        with pytest.raises(SettingsError, match="must be set on the client itself"):
            HttpxTransport(httpx.AsyncClient(), **options)


@pytest.mark.parametrize("name", ["cert", "cert_key", "cert_password", "proxy"])
def test_cert_together_with_a_transport_is_rejected(name: str) -> None:
    options: dict[str, Any] = {name: "x"}
    with pytest.raises(SettingsError, match=f"{name}= has no effect with transport="):
        Client(base_url="http://localhost/v1", policies=[], transport=NativeTransport(), **options)
