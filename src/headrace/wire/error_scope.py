"""Decides whether an error concerns one request only, or something that later calls share.

An error is shared if any other request would get it as well: it concerns the account, the key, the model,
the path or a setting. These decide, in this order:

    the parameter or code that the endpoint names      content of the request: that request only
                                                       account, key, model, country: shared
    words in the endpoint's message                    a flagged or too long prompt: that request only
    the status                                         see `_SHARED_STATUSES`; 400 and 422: that request only

If in doubt, an error concerns its request only, because then no other call is stopped.
"""

from __future__ import annotations

import enum
import re

import msgspec

from headrace.errors import (
    CallError,
    CredentialError,
    HeadraceError,
    InputError,
    InvalidReply,
    LocalResourceError,
    PolicyError,
    ProxyError,
    RateLimited,
    SetupError,
    StatusError,
    TLSError,
)
from headrace.wire.error_bodies import MODERATION, ErrorBody, parse_error_body


class ErrorScope(enum.StrEnum):
    """The subject of a shared error.

    Attributes:
        ACCOUNT: The account, key or certificate.
        SETTING: The model, the path or a parameter.
        RATE: A rate limit. It ends by itself.
        RUN: The caller's own limit. No further call may be made.
    """

    ACCOUNT = "account"
    SETTING = "setting"
    RATE = "rate"
    RUN = "run"


class SharedError(msgspec.Struct, frozen=True, array_like=True):
    """An error that later calls may get as well. Errors with the same ``key`` are the same."""

    key: str
    scope: ErrorScope


_SHARED_STATUSES = frozenset({401, 402, 403, 404, 405, 406, 407, 410, 415, 421, 426, 451, 501, 505})
"""Statuses that concern all requests, in addition to 3xx."""

_ACCOUNT_STATUSES = frozenset({401, 402, 407})

_CONTENT_PARAMETER = re.compile(
    r"(messages?|inputs?|prompts?|contents?|texts?(?!\.)|images?|audio|videos?|files?|documents?|query|suffix)"
    r"(_\w+)?(\W|$)",
    re.IGNORECASE,
)
"""Parameters with content of the request, such as ``messages[3].content``; ``text.format`` is a setting."""

_REQUEST_CODE = re.compile(
    r"context_length|context_window|content|moderat|flagged|safety|sensitive|policy_violation|invalid_prompt"
    r"|image|audio|file|base64|too_large|too_long|above_max|below_min|token_limit|tokens_exceeded|empty",
    re.IGNORECASE,
)
_SHARED_CODE = re.compile(
    r"quota|billing|credit|balance|payment|insufficient_(funds|permissions)|account|api_?key|auth|permission"
    r"|forbidden|access|country|region|location|not_found|deployment|(invalid|unknown|unsupported)_model"
    r"|model_not|unsupported_(parameter|value)|unknown_parameter|not_allowed",
    re.IGNORECASE,
)
_REQUEST_WORDS = re.compile(
    r"context (length|window)|maximum context|too (long|large|many tokens)|content (policy|filter|management)"
    r"|flagged|moderation|safety|inappropriate|sensitive|image|audio|base64",
    re.IGNORECASE,
)
_SHARED_WORDS = re.compile(
    r"credit balance|insufficient (balance|funds|credits?|quota)|current quota|billing|api key"
    r"|location is not supported|model .{0,200}(does not exist|not found|not supported)"
    r"|(unsupported|unknown|unrecognized) (parameter|argument)",
    re.IGNORECASE,
)


def shared_error(error: HeadraceError) -> SharedError | None:
    """Return the shared error behind an error, None if it concerns its own request only."""
    if isinstance(error, CallError) and error.ends_run:
        return SharedError(error.code, ErrorScope.RUN)
    if isinstance(error, StatusError):
        return _from_status(error)
    if isinstance(error, (TLSError, CredentialError)) or (
        isinstance(error, ProxyError) and not error.retryable
    ):
        return SharedError(error.code, ErrorScope.ACCOUNT)
    if isinstance(error, LocalResourceError):
        return SharedError(error.code, ErrorScope.SETTING)
    if isinstance(error, InvalidReply):
        return _from_body(error)
    if isinstance(error, InputError):  # a mistake in one row
        return None
    if isinstance(error, (PolicyError, SetupError)):
        return SharedError(f"{type(error).__name__} {error}", ErrorScope.SETTING)
    return None


def concerns_content(error: StatusError) -> bool:
    """Whether the endpoint says, by a parameter, a code or words, that the request's content is the cause."""
    return _is_shared(parse_error_body(error.body), error.error_code) is False


def _from_status(error: StatusError) -> SharedError | None:
    status = error.status
    if isinstance(error, RateLimited):
        # An exhausted quota is not retryable; that was decided when the error was created.
        scope = ErrorScope.RATE if error.retryable else ErrorScope.ACCOUNT
        return SharedError(f"{status} {scope.value}", scope)
    shared = _is_shared(parse_error_body(error.body), error.error_code)
    if shared is None:
        shared = status in _SHARED_STATUSES or 300 <= status < 400
    if not shared or not (status in _SHARED_STATUSES or status in {400, 422} or 300 <= status < 400):
        return None  # also for a 5xx or 409 with such words, because these end by themselves
    key = f"{status} {error.error_code} {error.param}"
    if status in _ACCOUNT_STATUSES:
        return SharedError(key, ErrorScope.ACCOUNT)
    return SharedError(f"{key} {_target(error)}", ErrorScope.SETTING)


def _is_shared(body: ErrorBody, code: str | None) -> bool | None:
    """Return whether the endpoint's codes and words mean a shared error, None if the status must decide."""
    codes, message = [*body.codes, code or ""], body.message or ""
    if MODERATION in codes:
        return False
    if body.param is not None:
        return _CONTENT_PARAMETER.match(body.param) is None and _REQUEST_WORDS.search(message) is None
    if any(_REQUEST_CODE.search(each) for each in codes):
        return False
    if any(_SHARED_CODE.search(each) for each in codes):
        return True
    if _REQUEST_WORDS.search(message):
        return False
    return True if _SHARED_WORDS.search(message) else None


def _from_body(error: InvalidReply) -> SharedError | None:
    """Return the shared error of a success status: a page or text instead of JSON, or a shared code."""
    code = error.error_code
    if code is not None:
        if _REQUEST_CODE.search(code) or not _SHARED_CODE.search(code):
            return None
        return SharedError(f"{error.code} {code} {_target(error)}", ErrorScope.SETTING)
    if not error.is_json:
        return SharedError(f"{error.code} not JSON {_target(error)}", ErrorScope.SETTING)
    return None


def _target(error: CallError) -> str:
    """Return the requested path and model: another model or path may work."""
    request = error.request
    return "" if request is None else f"{request.path} {request.model}"
