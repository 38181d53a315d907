"""Loads a client certificate (mutual TLS), with a one-line error if it cannot be used."""

from __future__ import annotations

import os
import ssl
from typing import TypeAlias

from headrace.errors import SettingsError
from headrace.keys import Secret

ClientCertificate: TypeAlias = "str | os.PathLike[str] | tuple[str | Secret | os.PathLike[str] | None, ...]"
"""The path of a PEM file with a certificate and its key, or a tuple: certificate, key and password."""

_SHAPE = "cert=: must be a path, or a tuple of certificate, key and password"


def load_client_certificate(context: ssl.SSLContext, cert: ClientCertificate) -> None:
    """Make ``context`` present this certificate to servers that request one. Raises `SettingsError`."""
    parts = cert if isinstance(cert, tuple) else (cert,)
    if not 1 <= len(parts) <= 3:
        raise SettingsError(_SHAPE)
    paths, secret = [part for part in parts[:2] if part is not None], parts[2] if len(parts) == 3 else None
    if not paths or not all(isinstance(path, (str, os.PathLike)) for path in paths):
        raise SettingsError(_SHAPE)
    certificate, key = os.fspath(paths[0]), os.fspath(paths[-1])  # type: ignore[arg-type]
    password = secret.reveal() if isinstance(secret, Secret) else secret
    _check_file(certificate, b"-----BEGIN CERTIFICATE-----", "certificate")
    _check_file(key, b"PRIVATE KEY-----", "private key")
    _load(context, certificate, key, None if password is None else str(password))


def _check_file(path: str, marker: bytes, kind: str) -> None:
    try:
        with open(path, "rb") as file:
            content = file.read(1024 * 1024)
    except OSError as error:
        raise SettingsError(f"cert: {path} cannot be read: {error.strerror}") from None
    if marker not in content:
        raise SettingsError(f"cert: {path} does not contain a {kind} in PEM format")


def _load(context: ssl.SSLContext, certificate: str, key: str, password: str | None) -> None:
    is_encrypted = False

    def provide_password() -> str:
        # Without this callback OpenSSL would prompt at the terminal.
        nonlocal is_encrypted
        is_encrypted = True
        return password or ""

    try:
        context.load_cert_chain(certificate, key, provide_password)
    except (OSError, ValueError) as error:
        if is_encrypted and not password:
            reason = f"the key in {key} is encrypted; pass its password"
        elif is_encrypted:
            reason = f"the password does not decrypt the key in {key}"
        elif isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            reason = f"the key in {key} does not belong to the certificate in {certificate}"
        else:
            reason = f"{' and '.join(dict.fromkeys((certificate, key)))} cannot be loaded: {error}"
        raise SettingsError(f"cert: {reason}") from None
