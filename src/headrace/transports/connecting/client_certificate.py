"""A client's own certificate, loaded so that what is wrong with it is said in one line."""

from __future__ import annotations

import os
import ssl
from typing import TypeAlias

from headrace.errors import SettingsError
from headrace.keys import Secret

ClientCertificate: TypeAlias = "str | os.PathLike[str] | tuple[str | Secret | os.PathLike[str] | None, ...]"
"""The path of a PEM file with a certificate and its key, or a pair or triple: certificate, key, password."""


def load_client_certificate(context: ssl.SSLContext, given: ClientCertificate) -> None:
    """Have ``context`` show this certificate to servers that ask for one; raises `SettingsError`."""
    parts = given if isinstance(given, tuple) else (given,)
    if not 1 <= len(parts) <= 3:
        raise SettingsError("cert= takes a path, or certificate, key and password")
    paths, secret = [part for part in parts[:2] if part is not None], parts[2] if len(parts) == 3 else None
    if not paths or not all(isinstance(path, (str, os.PathLike)) for path in paths):
        raise SettingsError("cert= takes a path, or certificate, key and password")
    certificate, key = os.fspath(paths[0]), os.fspath(paths[-1])  # type: ignore[arg-type]
    password = secret.reveal() if isinstance(secret, Secret) else secret
    _check_file(certificate, b"-----BEGIN CERTIFICATE-----", "certificate")
    _check_file(key, b"PRIVATE KEY-----", "private key")
    _load(context, certificate, key, None if password is None else str(password))


def _check_file(path: str, begins: bytes, what: str) -> None:
    try:
        with open(path, "rb") as file:
            content = file.read(1024 * 1024)
    except OSError as error:
        raise SettingsError(f"cert: {path} cannot be read: {error.strerror}") from None
    if begins not in content:
        raise SettingsError(f"cert: {path} holds no {what} in the PEM format")


def _load(context: ssl.SSLContext, certificate: str, key: str, password: str | None) -> None:
    is_encrypted = False

    def ask() -> str:
        # Without it OpenSSL would ask at the terminal.
        nonlocal is_encrypted
        is_encrypted = True
        return password or ""

    try:
        context.load_cert_chain(certificate, key, ask)
    except (OSError, ValueError) as error:
        if is_encrypted and not password:
            why = f"the key in {key} is encrypted; give its password"
        elif is_encrypted:
            why = f"the password does not open the key in {key}"
        elif isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            why = f"the key in {key} is not that of the certificate in {certificate}"
        else:
            why = f"{' and '.join(dict.fromkeys((certificate, key)))} cannot be loaded: {error}"
        raise SettingsError(f"cert: {why}") from None
