"""All errors that headrace raises, in one tree.

    HeadraceError
      SetupError                 the caller's mistake, found before anything is sent
        SettingsError            an unknown setting, a value of the wrong type, an unsafe URL
        PluginError              a plugin that cannot be imported, or returns a wrong value
        RequestError             a request that cannot be sent
        ClientStateError         a client that is closed, not open yet, or of another event loop
        InputError               the input, template or output of a bulk run; names the file and the line
        JournalError             a journal that belongs to another run, is in use, damaged, or lost
      WorkerLost                 the processes of a bulk run keep dying
      RunDetached                the rest of a bulk run goes on elsewhere
      ControlRefused             a run refuses a control message
      CallError                  a call failed; names the request and whether a retry can help
        ConnectError             refused, not resolved, or reset before a response
          TLSError               handshake or certificate; never retried, never downgraded
          ProxyError             the proxy is not reachable, or does not connect to the endpoint
        LocalResourceError       no file, port, thread or memory is left here for a connection
        CallTimeout              no connection, no data or no end within the time limit
          DeadlineExceeded       the deadline of the request, over all its attempts
        ProtocolError            a response that violates HTTP
          IncompleteReply        a response that is cut off
        ReplyTooLarge            a response larger than max_response_bytes
        InvalidReply             a successful status, but no answer in the body
        StatusError              any status but 2xx
          AuthenticationError    401
          RateLimited            429
          ServerError            5xx
        AnswerError              an answer that is incomplete, or in the wrong form
        CircuitOpen              not sent: the circuit of the endpoint is open
          EndpointPaused         not sent: the endpoint requires a longer pause than calls wait
        BudgetExceeded           not sent: the call could exceed the budget
        CallCancelled            a control message cancelled the item of this call
        CredentialError          not sent: the function passed as api_key= returned no key
        PolicyError              a policy raised an error that is not a HeadraceError

Transports translate foreign exceptions (OSError, ssl, anyio, httpx) and keep them as ``__cause__``.
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
    "CallCancelled",
    "CallError",
    "CallTimeout",
    "CircuitOpen",
    "ClientStateError",
    "ConnectError",
    "ControlRefused",
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
    "RunDetached",
    "ServerError",
    "SettingsError",
    "SetupError",
    "StatusError",
    "TLSError",
    "WorkerLost",
]


class HeadraceError(Exception):
    """The base class of all errors of headrace."""


class SetupError(HeadraceError):
    """A mistake of the caller, found before anything is sent."""


class SettingsError(SetupError, ValueError):
    """A setting that is unknown, of the wrong type, or unsafe."""


class PluginError(SetupError):
    """A plugin that cannot be imported, or whose hook returns a wrong value."""


class RequestError(SetupError, ValueError):
    """A request that cannot be sent."""


class ClientStateError(SetupError, RuntimeError):
    """A client that is used before it is open, after it is closed, or in another event loop."""


class InputError(SetupError, ValueError):
    """A mistake in the input, template or output of a bulk run; the message begins with file and line."""


class JournalError(SetupError):
    """A journal that belongs to another run, is in use by another process, is damaged, or was lost."""


class WorkerLost(HeadraceError):
    """The worker processes of a bulk run keep dying. Finished items are in the journal."""


class RunDetached(HeadraceError):
    """The rest of a bulk run goes on elsewhere; a later session of the run fetches its results.

    Args:
        message: What goes on, and how to continue.
        interrupted: Whether the session was stopped, and did not leave by itself.
    """

    def __init__(self, message: str, *, interrupted: bool = False) -> None:
        super().__init__(message)
        self.interrupted: bool = interrupted


class ControlRefused(HeadraceError):
    """A run that goes on refuses a control message: it is unknown, not valid, or not possible in this run."""


class CallError(HeadraceError):
    """A call failed.

    Attributes:
        code: A short machine-readable name, the same in logs, summaries and output files.
        retryable: Whether sending the request again can help.
        ends_run: Whether one such error ends a bulk run, because no later call can succeed.
        request: The request; set by the client.
        attempts: The number of attempts; set by the client.
        partial: The received part of the reply; None without one.
        cost: USD to pay although the call failed; None for nothing. Set by the cost policy.
        possible_cost: Maximum cost in USD of attempts whose cost is unknown, in addition to ``cost``; None
            for nothing. Set by the cost policy.
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
    """There is no connection, or it was lost before the first byte of a response.

    Attributes:
        sent: Whether the connection was lost after sending began, so that the endpoint may have processed
            the request.
    """

    code = "connect_error"
    retryable = True
    sent: bool = False


class TLSError(ConnectError):
    """The TLS handshake or the certificate failed."""

    code = "tls_error"
    retryable = False


class ProxyError(ConnectError):
    """The proxy is not reachable, or does not connect to the endpoint.

    Not ``retryable`` if the proxy demands credentials or forbids the host.
    """

    code = "proxy_error"


class LocalResourceError(CallError):
    """This process or machine has no file, local port, thread or memory left for another connection.

    Nothing was sent, and no policy counts it as a failure of the endpoint.
    """

    code = "local_resources"
    retryable = True


class CallTimeout(CallError):
    """An attempt took too long.

    Attributes:
        phase: ``queue``, ``connect``, ``write``, ``read``, ``total`` or ``stall``, as in `Timeout`;
            ``deadline`` for a `DeadlineExceeded`.
    """

    code = "timeout"
    retryable = True

    def __init__(self, message: str, phase: str = "total") -> None:
        super().__init__(message)
        self.phase = phase


class DeadlineExceeded(CallTimeout):
    """The deadline of the request passed; it covers all attempts and the waits between them."""

    code = "deadline_exceeded"
    retryable = False


class ProtocolError(CallError):
    """The response violates HTTP; its connection was closed."""

    code = "protocol_error"
    retryable = True


class IncompleteReply(ProtocolError):
    """The connection ended before the end of the response."""

    code = "incomplete_reply"


class ReplyTooLarge(CallError):
    """The response is larger than ``max_response_bytes``, as received or decompressed."""

    code = "reply_too_large"


class InvalidReply(CallError):
    """The status is 2xx, but the body is not JSON, is an error, or contains no answer.

    Attributes:
        error_code: The ``code`` of the endpoint's error object; None without one.
        is_json: False if the body is an HTML page or plain text.
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
        status: The HTTP status.
        headers: The response headers, with the key removed.
        body: The response body, with the key removed.
        error_code: The ``code`` of the error object, or its ``type`` if it has no code.
        param: The parameter of the request that the endpoint rejects; None if it names none.
        limit: The limit that a 429 is about: "requests_per_minute", "tokens_per_minute", "requests_per_day",
            "tokens_per_day", "quota" (no credit left) or "overloaded"; None if the endpoint names none.
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
        body_retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = body
        self.error_code = error_code
        self.param = param
        self.retryable = retryable
        self.limit = limit
        self._body_retry_after = body_retry_after

    @property
    def retry_after(self) -> float | None:
        """Seconds from now to wait before the next request; None if the endpoint gives no valid value.

        It comes from the headers, or else from the body.
        """
        seconds = None if self.headers is None else retry_after_seconds(self.headers, time.time())
        return self._body_retry_after if seconds is None else seconds


class AuthenticationError(StatusError):
    """401: the endpoint rejects the key."""

    code = "authentication_error"


class RateLimited(StatusError):
    """429: too many requests or tokens, or no credit left (``insufficient_quota``)."""

    code = "rate_limited"


class ServerError(StatusError):
    """5xx: the endpoint failed."""

    code = "server_error"


class AnswerError(CallError):
    """The answer is incomplete, or does not have the requested form.

    Attributes:
        finish_reason: Why the answer is incomplete: ``length``, ``content_filter``, ``refusal``, …. None for
            a complete answer in the wrong form; only that can be repaired by asking the model again.
    """

    code = "answer_error"

    def __init__(self, message: str, finish_reason: str | None = None) -> None:
        super().__init__(message)
        self.finish_reason = finish_reason


class CircuitOpen(CallError):
    """Not sent: the circuit of the endpoint is open, so the call fails at once.

    A bulk run waits and makes the call again. A retry within the call would block the caller until the
    endpoint recovers.

    Attributes:
        retry_after: Seconds until the next probe is due.
    """

    code = "circuit_open"

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EndpointPaused(CircuitOpen):
    """Not sent: the endpoint rejected other calls, and its ``Retry-After`` is longer than a call waits.

    A subclass of `CircuitOpen`, because the remedy is the same: another endpoint, or this one later.

    Attributes:
        retry_after: Seconds until the end of the pause.
    """

    code = "endpoint_paused"


class BudgetExceeded(CallError):
    """Not sent: this call could exceed the budget."""

    code = "budget_exceeded"
    ends_run = True


class CallCancelled(CallError):
    """A control message cancelled the item of this call, before it was sent or while it was in flight."""

    code = "cancelled"


class CredentialError(CallError):
    """Not sent: the function passed as ``api_key=`` raised an error, or returned no valid key.

    ``__cause__`` is the error of the function. The message does not repeat it, because it may contain a
    secret.
    """

    code = "credential_error"
    retryable = True


class PolicyError(CallError):
    """A policy raised an error that is not a HeadraceError; the message names the policy."""

    code = "policy_error"
