"""TLS sessions: what spares further connections to an origin the certificates and most of the computing."""

from __future__ import annotations

import ssl
import time
from typing import Any

from headrace._support.clock import running_clock

LONGEST = 3600.0
"""Seconds for which a certificate that was verified once is relied upon; a server may say less."""

_BETWEEN_LOOKS = 0.01
"""Seconds from one look for a ticket to the next: it copies a session, certificate included."""

_WITHOUT_TICKET = 1.0
"""Seconds after which another connection is looked at: the ticket of the first may never have come."""


class Sessions:
    """The session that connections to one host, verified under one context, resume.

    It comes from a handshake in which the server showed its certificate, never from a resumed one, so it ends
    when that verification is too old: after what the server allows, when its certificate expires, or after
    `LONGEST`. A server that does not take it has a full handshake, whose session replaces it.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._now = running_clock()
        self._demands = _demands(context)
        self._session: ssl.SSLSession | None = None
        self._until = 0.0
        self._giver: ssl.SSLObject | None = None
        self._given_at = 0.0
        self._next_look = 0.0

    def to_resume(self) -> ssl.SSLSession | None:
        """The session to offer, None where there is none."""
        demands = _demands(self._context)
        if demands != self._demands:  # what was verified under others says nothing
            self._demands, self._session, self._giver = demands, None, None
        now = self._now()
        if self._session is None and self._giver is not None and now >= self._next_look:
            self._look(self._giver, now)
        if now >= self._until:
            self._session = None
        return self._session

    def connected(self, tls: ssl.SSLObject) -> None:
        """A handshake is complete."""
        now = self._now()
        if tls.session_reused:
            return
        if self._session is None and self._giver is not None and now < self._given_at + _WITHOUT_TICKET:
            return  # it is the likelier to have its ticket
        self._session, self._giver, self._given_at = None, tls, now
        self._next_look = 0.0

    def _look(self, giver: ssl.SSLObject, now: float) -> None:
        """Take its session, where it is complete: with TLS 1.3 the ticket comes after the handshake."""
        session = giver.session
        if session is not None and (session.has_ticket or (session.id and giver.version() != "TLSv1.3")):
            self._session, self._giver = session, None
            self._until = self._given_at + _lifetime(session, giver)
        else:
            self._next_look = now + _BETWEEN_LOOKS


def _lifetime(session: ssl.SSLSession, tls: ssl.SSLObject) -> float:
    """Seconds for which a session that has just come may be used."""
    lifetime = min(LONGEST, session.ticket_lifetime_hint or session.timeout)
    expires = (tls.getpeercert() or {}).get("notAfter")
    if isinstance(expires, str):
        lifetime = min(lifetime, ssl.cert_time_to_seconds(expires) - time.time())
    return lifetime


def _demands(context: ssl.SSLContext) -> tuple[Any, ...]:
    """What a context asks of a server; code that shares it may change that."""
    return context.verify_mode, context.check_hostname, context.verify_flags
