"""The default SSL context, and host names as TLS writes them."""

from __future__ import annotations

import os
import ssl

import certifi


def default_ssl_context() -> ssl.SSLContext:
    """A verifying context with the system's certificates, or certifi's if the system has none.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are respected, as in OpenSSL. Raises `OSError` if a certificate
    file cannot be opened.
    """
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is not None and not context.cert_store_stats()["x509"]:
        with open(paths.cafile, "rb"):  # OpenSSL ignores a file that it cannot open, and then trusts nobody
            pass
    if paths.cafile is None and not (paths.capath and os.listdir(paths.capath)):
        context.load_verify_locations(certifi.where())
    return context


def tls_name(host: str) -> str:
    """A host as TLS writes it: without the dot that ends a full name, and without an IPv6 scope."""
    return host.partition("%")[0].removesuffix(".")  # RFC 6066, 3; RFC 6874, 4
