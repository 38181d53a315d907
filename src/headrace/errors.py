"""What can go wrong, and whose mistake it is.

    HeadraceError
      SetupError                 yours, found before anything is sent
        SettingsError            an unknown key, a value of the wrong kind, an unsafe address
        PluginError              a plugin that does not import, or returns nonsense
        RequestError             a request that cannot be sent as it is
        ClientStateError         a client that is closed, not open yet, or of another event loop
        InputError               a bulk run's input, template or output; names the file and the line
        JournalError             a journal that belongs to another run, is in use, or is damaged
      WorkerLost                 the processes of a bulk run die
      CallError                  one call failed; says to which request and whether a retry can help
        ConnectError             refused, unresolved, reset before an answer
          TLSError               handshake or certificate; never retried, never downgraded
          ProxyError             the proxy cannot be reached, or opens no way to the endpoint
        LocalResourceError       this machine has no file, port, thread or memory left for a connection
        CallTimeout              no connection, no bytes or no end within the time allowed
          DeadlineExceeded       the request's own deadline, over all its attempts
        ProtocolError            an answer that breaks HTTP
          IncompleteReply        an answer cut short
        ReplyTooLarge            an answer over max_response_bytes
        InvalidReply             a success by status whose body is no answer
        StatusError              any status that is not 2xx
          AuthenticationError    401
          RateLimited            429
          ServerError            5xx
        AnswerError              an answer outside what was asked for
        CircuitOpen              not sent: the endpoint's circuit is open
          EndpointPaused         not sent: the endpoint asked to stay away for longer than is waited
        BudgetExceeded           not sent: the budget would be overdrawn
        CredentialError          not sent: the callable given as api_key gave no key
        PolicyError              a policy raised something that is no HeadraceError

A foreign exception (OSError, ssl, anyio, httpx) is translated at the transport, its one boundary, and
stays visible as ``__cause__``.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar

from headrace._support.retry_after import retry_after_seconds

if TYPE_CHECKING:
    from headrace.calls import Request
    from headrace.replies import Headers, Reply

__all__ = [
    "AnswerError",
    "AuthenticationError",
    "BudgetExceeded",
    "CallError",
    "CallTimeout",
    "CircuitOpen",
    "ClientStateError",
    "ConnectError",
    "CredentialError",
    "DeadlineExceeded",
    "EndpointPaused",
    "HeadraceError",
    "IncompleteReply",
    "InputError",
    "InvalidReply",
    "JournalError",
    "LocalResourceError",
    "PluginError",
    "PolicyError",
    "ProtocolError",
    "ProxyError",
    "RateLimited",
    "ReplyTooLarge",
    "RequestError",
    "ServerError",
    "SettingsError",
    "SetupError",
    "StatusError",
    "TLSError",
    "WorkerLost",
]


class HeadraceError(Exception):
    """The base of everything that headrace raises."""


class SetupError(HeadraceError):
    """The caller's mistake, found before anything is sent."""


class SettingsError(SetupError, ValueError):
    """A setting that is unknown, of the wrong kind, or unsafe."""


class PluginError(SetupError):
    """A plugin that does not import, or whose hook returns something else than its contract says."""


class RequestError(SetupError, ValueError):
    """A request that cannot be sent as it is."""


class ClientStateError(SetupError, RuntimeError):
    """A client used before it is open, after it is closed, or from another event loop."""


class InputError(SetupError, ValueError):
    """The input, template or output of a bulk run; the message begins with file and line."""


class JournalError(SetupError):
    """A journal that belongs to another run, is in use by another process, or is damaged."""


class WorkerLost(HeadraceError):
    """The worker processes of a bulk run die one after the other; what is done is in the journal."""


class CallError(HeadraceError):
    """One call failed.

    ``code`` is a short machine-readable name, the same in logs, summaries and output files;
    ``retryable`` says whether sending the request again can help; ``ends_run`` whether one of them is enough
    to end a bulk run, because no later call can succeed. ``request`` and ``attempts``
    are filled in by the client; ``partial`` is what came of a stream that broke, None without one.
    ``cost`` and ``possible_cost`` are in USD and filled in by the cost policy: what the call has to be paid
    for all the same, and what attempts whose cost is not known may have cost at most; None for nothing.
    """

    code: ClassVar[str] = "call_failed"
    retryable: bool = False
    ends_run: ClassVar[bool] = False
    request: Request | None = None
    attempts: int = 0
    partial: Reply | None = None
    cost: Decimal | None = None
    possible_cost: Decimal | None = None


class ConnectError(CallError):
    """No connection, or one that was lost before any byte of an answer.

    ``sent``: True where it was lost when the request was on its way, so that the endpoint may have acted on
    it.
    """

    code = "connect_error"
    retryable = True
    sent: bool = False


class TLSError(ConnectError):
    """The TLS handshake or the certificate failed."""

    code = "tls_error"
    retryable = False


class ProxyError(ConnectError):
    """The proxy cannot be reached, or opens no way to the endpoint.

    ``retryable`` unless it says no: it wants credentials, or forbids that host.
    """

    code = "proxy_error"


class LocalResourceError(CallError):
    """This process or machine has no file, local port, thread or memory left for another connection.

    It says nothing about the endpoint, so no policy counts it against one. Nothing was sent.
    """

    code = "local_resources"
    retryable = True


class CallTimeout(CallError):
    """An attempt ran out of time; ``phase`` is queue, connect, write, read, total or stall."""

    code = "timeout"
    retryable = True

    def __init__(self, message: str, phase: str = "total") -> None:
        super().__init__(message)
        self.phase = phase


class DeadlineExceeded(CallTimeout):
    """The request's deadline passed; it spans all attempts and the waits between them."""

    code = "deadline_exceeded"
    retryable = False


class ProtocolError(CallError):
    """The answer breaks HTTP; its connection was dropped."""

    code = "protocol_error"
    retryable = True


class IncompleteReply(ProtocolError):
    """The connection ended before the answer did."""

    code = "incomplete_reply"


class ReplyTooLarge(CallError):
    """The answer, as sent or once decompressed, is over ``max_response_bytes``."""

    code = "reply_too_large"


class InvalidReply(CallError):
    """Status 2xx, but the body is not JSON, is an error, or holds no answer.

    ``error_code`` is the endpoint's own short name for its error, None where it gives none; ``is_json`` is
    False where the body is a page or a text.
    """

    code = "invalid_reply"
    retryable = True

    def __init__(self, message: str, error_code: str | None = None, *, is_json: bool = True) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.is_json = is_json


class StatusError(CallError):
    """The endpoint answered with a status that is not 2xx.

    Attributes:
        status: The status.
        headers: The answer's, less the key where they hold it.
        body: The answer's bytes, less the key.
        error_code: The ``code`` of its error object, or its ``type`` where that is the word.
        param: The parameter of the request that the endpoint blames, None where it names none.
        limit: Which limit a 429 is about: "requests_per_minute", "tokens_per_minute", "requests_per_day",
            "tokens_per_day", "quota" (no credit left), "overloaded"; None where the endpoint does not say.
    """

    code = "status_error"

    def __init__(
        self,
        message: str,
        status: int = 0,
        headers: Headers | None = None,
        body: bytes = b"",
        error_code: str | None = None,
        *,
        param: str | None = None,
        retryable: bool = False,
        limit: str | None = None,
        asked: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = body
        self.error_code = error_code
        self.param = param
        self.retryable = retryable
        self.limit = limit
        self._asked = asked

    @property
    def retry_after(self) -> float | None:
        """Seconds that the endpoint asks to stay away from now on; None where it asks for nothing sensible.

        As `headrace._support.retry_after` reads its headers; without these, what its body says.
        """
        seconds = None if self.headers is None else retry_after_seconds(self.headers, time.time())
        return self._asked if seconds is None else seconds


class AuthenticationError(StatusError):
    """401: the endpoint refuses the key."""

    code = "authentication_error"


class RateLimited(StatusError):
    """429: too many requests or tokens, or (``insufficient_quota``) no credit left."""

    code = "rate_limited"


class ServerError(StatusError):
    """5xx: the endpoint failed."""

    code = "server_error"


class AnswerError(CallError):
    """The model answered, but outside what was asked for.

    ``finish_reason`` says why, where the answer is not whole (``length``, ``content_filter``, ``refusal``,
    …): asking again for the right form does not mend that. Else it is None.
    """

    code = "answer_error"

    def __init__(self, message: str, finish_reason: str | None = None) -> None:
        super().__init__(message)
        self.finish_reason = finish_reason


class CircuitOpen(CallError):
    """Not sent: the endpoint's circuit is open, and this fails fast instead of waiting for it.

    ``retry_after``: seconds until the next probe is due. Who has the time (a bulk run has) waits so long and
    makes the call again; a retry within the call would keep its caller waiting for the endpoint's recovery.
    """

    code = "circuit_open"

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EndpointPaused(CircuitOpen):
    """Not sent: the endpoint refused others and asked to stay away, for longer than a call waits.

    ``retry_after``: seconds until it may be called again. A kind of `CircuitOpen`, because the same is to be
    done about it: another endpoint, or the same one later.
    """

    code = "endpoint_paused"


class BudgetExceeded(CallError):
    """Not sent: with this call the budget could be overdrawn."""

    code = "budget_exceeded"
    ends_run = True


class CredentialError(CallError):
    """Not sent: the callable given as ``api_key`` raised an error, or gave no key that can be sent.

    ``__cause__`` is what it raised; the message does not repeat that, because it may hold a secret.
    """

    code = "credential_error"
    retryable = True


class PolicyError(CallError):
    """A policy raised something that is no HeadraceError; the message names the policy."""

    code = "policy_error"
