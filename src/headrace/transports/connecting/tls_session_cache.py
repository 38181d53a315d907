"""TLS session resumption: later connections to an origin skip certificates and most computation."""

from __future__ import annotations

import ssl
import time
from typing import Any

from headrace._support.clock import running_clock

MAX_LIFETIME = 3600.0
"""Seconds for which one verification of a certificate is trusted. A server may set a shorter time."""

_TICKET_CHECK_INTERVAL = 0.01
"""Seconds between two checks for a ticket: each copies a session with its certificate."""

_TICKET_TIMEOUT = 1.0
"""Seconds to wait for the ticket of one connection, which may never arrive, before another is used."""


class TlsSessionCache:
    """The session to resume, for connections to one host with one SSL context.

    The session is from a handshake in which the server presented its certificate, never from a resumed one.
    So it expires with that verification: at the server's limit, when the certificate expires, or after
    `MAX_LIFETIME`. If a server rejects it, a full handshake follows, whose session replaces it.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._now = running_clock()
        self._verification = _verification_settings(context)
        self._session: ssl.SSLSession | None = None
        self._expires_at = 0.0
        self._source: ssl.SSLObject | None = None
        self._source_time = 0.0
        self._next_check = 0.0

    def session(self) -> ssl.SSLSession | None:
        """The session to offer in the next handshake, or None."""
        verification = _verification_settings(self._context)
        if verification != self._verification:  # a verification under other settings proves nothing
            self._verification, self._session, self._source = verification, None, None
        now = self._now()
        if self._session is None and self._source is not None and now >= self._next_check:
            self._check_for_ticket(self._source, now)
        if now >= self._expires_at:
            self._session = None
        return self._session

    def on_handshake(self, tls: ssl.SSLObject) -> None:
        """Note a complete handshake, whose session may be resumed later."""
        now = self._now()
        if tls.session_reused:
            return
        if self._session is None and self._source is not None and now < self._source_time + _TICKET_TIMEOUT:
            return  # the older connection is more likely to have its ticket
        self._session, self._source, self._source_time = None, tls, now
        self._next_check = 0.0

    def _check_for_ticket(self, source: ssl.SSLObject, now: float) -> None:
        """Take the connection's session if it is complete. In TLS 1.3 the ticket follows the handshake."""
        session = source.session
        if session is not None and (session.has_ticket or (session.id and source.version() != "TLSv1.3")):
            self._session, self._source = session, None
            self._expires_at = self._source_time + _lifetime(session, source)
        else:
            self._next_check = now + _TICKET_CHECK_INTERVAL


def _lifetime(session: ssl.SSLSession, tls: ssl.SSLObject) -> float:
    """Seconds for which a new session may be used."""
    lifetime = min(MAX_LIFETIME, session.ticket_lifetime_hint or session.timeout)
    expires = (tls.getpeercert() or {}).get("notAfter")
    if isinstance(expires, str):
        lifetime = min(lifetime, ssl.cert_time_to_seconds(expires) - time.time())
    return lifetime


def _verification_settings(context: ssl.SSLContext) -> tuple[Any, ...]:
    """The verification settings of a context, which other code that shares it may change."""
    return context.verify_mode, context.check_hostname, context.verify_flags
