"""What an error is about: one request, or something that all later calls share.

An error says something about the account, the key, the model, the path or a setting if it would come back
for any other request as well. What decides is, in this order:

    the parameter or code that the endpoint names      content of the request: about that request
                                                       account, key, model, country: about all
    words in the endpoint's message                    a flagged or too long prompt: about that request
    the status                                         see `_ABOUT_ALL`; 400 and 422 are about that request

In doubt an error is about its request, because then nothing is held up.
"""

from __future__ import annotations

import enum
import re

import msgspec

from headrace.errors import (
    CallError,
    CredentialError,
    HeadraceError,
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
    """What an error that others share says something about.

    ``ACCOUNT``: the account, key or certificate, so never about the request. ``SETTING``: the model, path or
    a parameter. ``RATE``: a rate limit, which passes. ``RUN``: the caller's own limit; no call may follow.
    """

    ACCOUNT = "account"
    SETTING = "setting"
    RATE = "rate"
    RUN = "run"


class SharedError(msgspec.Struct, frozen=True, array_like=True):
    """An error that later calls may share; errors with the same ``key`` are the same."""

    key: str
    scope: ErrorScope


_ABOUT_ALL = frozenset({401, 402, 403, 404, 405, 406, 407, 410, 415, 421, 426, 451, 501, 505})
"""Statuses that are about all requests, besides 3xx."""

_ACCOUNT = frozenset({401, 402, 407})

_CONTENT = re.compile(
    r"(messages?|inputs?|prompts?|contents?|texts?(?!\.)|images?|audio|videos?|files?|documents?|query|suffix)"
    r"(_\w+)?(\W|$)",
    re.IGNORECASE,
)
"""Parameters that hold an item's content, as in ``messages[3].content``; ``text.format`` is a setting."""

_ITEM_CODE = re.compile(
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
_ITEM_WORDS = re.compile(
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
    """What later calls may share of an error; None for one that is about its own request."""
    if isinstance(error, CallError) and error.ends_run:
        return SharedError(error.code, ErrorScope.RUN)
    if isinstance(error, StatusError):
        return _by_status(error)
    if isinstance(error, (TLSError, CredentialError)) or (
        isinstance(error, ProxyError) and not error.retryable
    ):
        return SharedError(error.code, ErrorScope.ACCOUNT)
    if isinstance(error, LocalResourceError):
        return SharedError(error.code, ErrorScope.SETTING)
    if isinstance(error, InvalidReply):
        return _by_body(error)
    if isinstance(error, (PolicyError, SetupError)):
        return SharedError(f"{type(error).__name__} {error}", ErrorScope.SETTING)
    return None


def _by_status(error: StatusError) -> SharedError | None:
    status = error.status
    if isinstance(error, RateLimited):
        # Whether a 429 is a quota that is used up was decided where the error was made.
        scope = ErrorScope.RATE if error.retryable else ErrorScope.ACCOUNT
        return SharedError(f"{status} {scope.value}", scope)
    about_all = _is_about_all(parse_error_body(error.body), error.error_code)
    if about_all is None:
        about_all = status in _ABOUT_ALL or 300 <= status < 400
    if not about_all or not (status in _ABOUT_ALL or status in {400, 422} or 300 <= status < 400):
        return None  # also a 5xx or 409 that uses such words, for it is over sooner or later
    key = f"{status} {error.error_code} {error.param}"
    if status in _ACCOUNT:
        return SharedError(key, ErrorScope.ACCOUNT)
    return SharedError(f"{key} {_target(error)}", ErrorScope.SETTING)


def _is_about_all(said: ErrorBody, code: str | None) -> bool | None:
    """Whether the endpoint's words say so; None where only the status is left to tell."""
    codes, message = [*said.words, code or ""], said.message or ""
    if MODERATION in codes:
        return False
    if said.param is not None:
        return _CONTENT.match(said.param) is None and _ITEM_WORDS.search(message) is None
    if any(_ITEM_CODE.search(each) for each in codes):
        return False
    if any(_SHARED_CODE.search(each) for each in codes):
        return True
    if _ITEM_WORDS.search(message):
        return False
    return True if _SHARED_WORDS.search(message) else None


def _by_body(error: InvalidReply) -> SharedError | None:
    """Of a success by status: a page or a text in place of JSON, or an error object with a shared code."""
    code = error.error_code
    if code is not None:
        if _ITEM_CODE.search(code) or not _SHARED_CODE.search(code):
            return None
        return SharedError(f"{error.code} {code} {_target(error)}", ErrorScope.SETTING)
    if not error.is_json:
        return SharedError(f"{error.code} not JSON {_target(error)}", ErrorScope.SETTING)
    return None


def _target(error: CallError) -> str:
    """The model and path asked for: another model may be there, at another path."""
    request = error.request
    return "" if request is None else f"{request.path} {request.model}"
