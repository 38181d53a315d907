"""Certificates of the embedded endpoint: those that it is given, and those that it makes for itself."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from headrace.errors import SettingsError

ALPN = ("h2", "http/1.1")
"""The protocols that are offered over TLS, the preferred one first."""

_OF_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@attrs.frozen
class Certificate:
    """A server's certificate in PEM files.

    Args:
        chain: path of the certificate, followed by those between it and its authority.
        key: path of its private key, without a passphrase; None: it is in the same file.
    """

    chain: str
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """A context for a server with this certificate; raises `SettingsError` where it cannot be used."""

        def refuse() -> str:
            raise SettingsError(f"the key of {self.chain} has a passphrase; give one without it")

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(list(ALPN))
        try:
            context.load_cert_chain(self.chain, self.key, password=refuse)
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror or error
            files = self.chain if self.key is None else f"{self.chain} and {self.key}"
            raise SettingsError(f"no certificate with its key can be read from {files}: {reason}") from None
        return context


@attrs.frozen
class SelfMade(Certificate):
    """A certificate that is signed by a new authority.

    Args:
        authority: path of the authority's certificate, which clients are to trust.
    """

    authority: str = attrs.field(kw_only=True)


@contextmanager
def self_made(host: str = "127.0.0.1") -> Iterator[SelfMade]:
    """A certificate for this machine's own names and ``host``, in a folder that is gone after the block.

    Raises `ImportError` where trustme is not installed; it comes with `headrace[serve-tls]`.
    """
    try:
        import trustme
    except ImportError as error:
        raise ImportError("trustme makes the certificate: pip install 'headrace[serve-tls]'") from error
    authority = trustme.CA()
    issued = authority.issue_cert(*dict.fromkeys((host, *_OF_THIS_MACHINE)))
    with TemporaryDirectory(prefix="headrace-tls-") as folder:
        trusted, chain = Path(folder, "authority.pem"), Path(folder, "endpoint.pem")
        authority.cert_pem.write_to_path(str(trusted))
        issued.private_key_and_cert_chain_pem.write_to_path(str(chain))
        yield SelfMade(str(chain), authority=str(trusted))
