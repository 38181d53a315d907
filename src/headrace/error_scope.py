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
import json
import re
from collections.abc import Iterator
from typing import Any

import attrs
import msgspec

from headrace.errors import (
    CallError,
    HeadraceError,
    InvalidReply,
    PolicyError,
    RateLimited,
    SetupError,
    StatusError,
    TLSError,
)
from headrace.reply import NOT_JSON


class Scope(enum.StrEnum):
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
    scope: Scope


_ABOUT_ALL = frozenset({401, 402, 403, 404, 405, 406, 407, 410, 415, 421, 426, 451, 501, 505})
"""Statuses that are about all requests, besides 3xx."""

_ACCOUNT = frozenset({401, 402, 407})

_LONGEST = 1 << 16
"""Bytes of an error's body that are looked at."""

_CODES = ("code", "type", "status", "reason")

_MODERATION = frozenset({"reasons", "flagged_input"})
"""What OpenRouter's ``metadata`` holds where a prompt was refused by a moderation."""

_CONTENT = re.compile(
    r"messages?|inputs?|prompts?|contents?|text|image|audio|video|files?|documents?|query|suffix",
    re.IGNORECASE,
)
"""Parameters that hold an item's content; of a path like ``messages[3].content``, the first name counts."""

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
        return SharedError(error.code, Scope.RUN)
    if isinstance(error, StatusError):
        return _by_status(error)
    if isinstance(error, TLSError):
        return SharedError(error.code, Scope.ACCOUNT)
    if isinstance(error, InvalidReply):
        return _by_body(error)
    if isinstance(error, (PolicyError, SetupError)):
        return SharedError(f"{type(error).__name__} {error}", Scope.SETTING)
    return None


def _by_status(error: StatusError) -> SharedError | None:
    status, said = error.status, _Said.of(error)
    if isinstance(error, RateLimited):
        # Whether a 429 is a quota that is used up was decided where the error was made.
        scope = Scope.RATE if error.retryable else Scope.ACCOUNT
        return SharedError(f"{status} {scope.value}", scope)
    about = said.about_all
    if about is None:
        about = status in _ABOUT_ALL or 300 <= status < 400
    elif about and status not in _ABOUT_ALL and status not in {400, 422}:
        return None  # a 5xx or 409 that repeats such words is over sooner or later
    if not about:
        return None
    key = f"{status} {error.error_code} {said.parameter}"
    if status in _ACCOUNT:
        return SharedError(key, Scope.ACCOUNT)
    return SharedError(f"{key} {_target(error)}", Scope.SETTING)


def _by_body(error: InvalidReply) -> SharedError | None:
    """Of a success by status: a page or a text in place of JSON, or an error object with a shared code."""
    code = getattr(error, "error_code", None)
    if code is not None:
        if _ITEM_CODE.search(code) or not _SHARED_CODE.search(code):
            return None
        return SharedError(f"{error.code} {code} {_target(error)}", Scope.SETTING)
    if isinstance(error.__cause__, NOT_JSON):
        return SharedError(f"{error.code} not JSON {_target(error)}", Scope.SETTING)
    return None


def _target(error: CallError) -> str:
    """The model and path asked for: another model may be there, at another path."""
    request = error.request
    return "" if request is None else f"{request.path} {request.model}"


@attrs.define
class _Said:
    """What the body of an error says, as far as it is understood."""

    parameter: str | None = None
    message: str = ""
    codes: tuple[str, ...] = ()
    moderated: bool = False

    @classmethod
    def of(cls, error: StatusError) -> _Said:
        """From an OpenAI error object, FastAPI's ``detail``, Google's ``status`` and ``details``."""
        codes = () if error.error_code is None else (error.error_code,)
        body = _decoded(error.body)
        if not isinstance(body, dict):
            return cls(codes=codes)
        detail, inner = body.get("detail"), body.get("error", body)
        if not isinstance(inner, dict):
            return cls(_located(detail), _text(inner) or _text(detail), codes)
        metadata = inner.get("metadata")
        return cls(
            _text(inner.get("param")) or _located(detail),
            _text(inner.get("message")) or _text(detail),
            (*codes, *_codes(inner)),
            isinstance(metadata, dict) and bool(metadata.keys() & _MODERATION),
        )

    @property
    def about_all(self) -> bool | None:
        """Whether the words say that this is about all calls; None where only the status is left to tell."""
        if self.moderated:
            return False
        if self.parameter is not None:
            return _CONTENT.fullmatch(re.split(r"[^A-Za-z_]", self.parameter, maxsplit=1)[0]) is None and (
                _ITEM_WORDS.search(self.message) is None
            )
        if any(_ITEM_CODE.search(code) for code in self.codes):
            return False
        if any(_SHARED_CODE.search(code) for code in self.codes):
            return True
        if _ITEM_WORDS.search(self.message):
            return False
        return True if _SHARED_WORDS.search(self.message) else None


def _decoded(body: bytes) -> Any:
    """The JSON of an error's body, of a list the first; None for what is no JSON or too long to be one."""
    if len(body) > _LONGEST:
        return None
    try:
        decoded: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return decoded[0] if isinstance(decoded, list) and decoded else decoded


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _codes(error: dict[str, Any]) -> Iterator[str]:
    details = error.get("details")
    for each in (error, *(details if isinstance(details, list) else ())):
        if isinstance(each, dict):
            yield from (text for name in _CODES if (text := _text(each.get(name))))


def _located(detail: Any) -> str | None:
    """The parameter at which FastAPI's first ``detail`` points: ``{"loc": ["body", "temperature"]}``."""
    first = detail[0] if isinstance(detail, list) and detail else None
    where = first.get("loc") if isinstance(first, dict) else None
    names = where if isinstance(where, list) else ()
    return next((name for name in names if isinstance(name, str) and name != "body"), None)
