"""Certificates of the embedded endpoint: from files, or created for a run."""

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

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@attrs.frozen
class Certificate:
    """A server's certificate in PEM files.

    Args:
        chain: Path of the certificate, followed by the intermediate certificates.
        key: Path of its private key, without a passphrase. None: the key is in the same file.
    """

    chain: str
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """An SSL context for a server with this certificate; raises `SettingsError` if it cannot be used."""

        def refuse() -> str:
            raise SettingsError(f"the key of {self.chain} has a passphrase; use a key without one")

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(list(ALPN))
        try:
            context.load_cert_chain(self.chain, self.key, password=refuse)
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror or error
            files = self.chain if self.key is None else f"{self.chain} and {self.key}"
            raise SettingsError(f"cannot read a certificate and its key from {files}: {reason}") from None
        return context


@attrs.frozen
class TemporaryCertificate(Certificate):
    """A certificate that is signed by a new certificate authority.

    Args:
        authority: Path of the authority's certificate, which clients must trust.
    """

    authority: str = attrs.field(kw_only=True)


@contextmanager
def temporary_certificate(host: str = "127.0.0.1") -> Iterator[TemporaryCertificate]:
    """Create a certificate for localhost, the loopback addresses and ``host``.

    Its files are deleted at the end of the block.

    Args:
        host: A further name or address that the certificate is valid for.

    Raises:
        ImportError: trustme is not installed; it comes with `headrace[serve-tls]`.
    """
    try:
        import trustme
    except ImportError as error:
        raise ImportError("trustme creates the certificate: pip install 'headrace[serve-tls]'") from error
    authority = trustme.CA()
    issued = authority.issue_cert(*dict.fromkeys((host, *_LOCAL_NAMES)))
    with TemporaryDirectory(prefix="headrace-tls-") as folder:
        trusted, chain = Path(folder, "authority.pem"), Path(folder, "endpoint.pem")
        authority.cert_pem.write_to_path(str(trusted))
        issued.private_key_and_cert_chain_pem.write_to_path(str(chain))
        yield TemporaryCertificate(str(chain), authority=str(trusted))
