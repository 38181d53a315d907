"""Parses error bodies, which endpoints write in many forms."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from headrace._support.lenient_json import NOT_JSON, decode_json
from headrace._support.text import printable, shown
from headrace.errors import InvalidReply

MAX_MESSAGE_CHARS = 1000
"""How much of an endpoint's own message an error repeats, in characters."""

_QUOTA_CODES = frozenset(
    "billing_hard_limit_reached billing_not_active credits_exhausted exceeded_current_quota_error "
    "insufficient_balance insufficient_credits insufficient_quota insufficient_user_quota".split()
)
# Not compiled here: that would slow down every import, and few programs need these patterns.
_OUT_OF_CREDIT = (
    r"(?i)insufficient (account )?(balance|credit|funds|quota)|not enough (balance|credit)"
    r"|(used|out of) (all|available|prepaid)?.{0,20}credits?|credit balance is too low|spending limit"
)
MODERATION = "moderation"
"""The code of a request that was rejected for its content; also set for OpenRouter's metadata about that."""

_OVERLOADED = r"(?i)overload|over capacity|capacity exceeded|server is busy|too busy"
_PER_MINUTE = r"(?i)per[ _-]?min|\b[rt]pm\b"
_PER_DAY = r"(?i)per[ _-]?day|\b[rt]pd\b|daily"
_TOKENS = r"(?i)tokens?|\btp[md]\b"
_REQUESTS = r"(?i)requests?|calls?\b|\brp[md]\b"
_DURATION = r"(\d{1,9}(?:\.\d{1,9})?)s"

_NOT_RETRYABLE = frozenset(
    "authentication_error billing_error content_filter content_policy_violation context_length_exceeded "
    "invalid_api_key invalid_argument invalid_prompt invalid_request invalid_request_error model_not_found "
    "moderation not_found not_found_error permission_denied permission_error request_too_large "
    "string_above_max_length unsupported_country_region_territory unsupported_parameter "
    "unsupported_value".split()
)


@attrs.frozen
class ErrorBody:
    """An endpoint's description of an error.

    Attributes:
        message: The text for a person.
        code: The error's code; a word rather than a number if there are both.
        param: The request's parameter that is wrong.
        status: The HTTP status that the body names.
        retry_after: Seconds to wait; None if the body does not contain them.
        codes: All codes of the error, in lower case.
    """

    message: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None
    retry_after: float | None = None
    codes: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether no field was recognised, as for an ``"error": {}`` beside an answer."""
        return self.message is None and self.code is None and self.status is None

    @property
    def is_quota_error(self) -> bool:
        """Whether the account has no credit left. Waiting does not help then."""
        if self.codes & _QUOTA_CODES:
            return True
        return bool(self.message and re.search(_OUT_OF_CREDIT, self.message))

    @property
    def limit(self) -> str | None:
        """The limit that a 429 is about, None if the endpoint does not name it.

        It is "quota", "overloaded", or "requests" or "tokens" followed by "_per_minute" or "_per_day".
        """
        if self.is_quota_error:
            return "quota"
        text = " ".join([self.message or "", *self.codes])
        if re.search(_OVERLOADED, text):
            return "overloaded"
        period = "day" if re.search(_PER_DAY, text) else "minute" if re.search(_PER_MINUTE, text) else None
        counted = "tokens" if re.search(_TOKENS, text) else "requests" if re.search(_REQUESTS, text) else None
        return f"{counted}_per_{period}" if period and counted else None

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later; used for an error that comes with status 200."""
        if self.is_quota_error or self.codes & _NOT_RETRYABLE:
            return False
        return self.status is None or is_retryable(self.status)


def to_invalid_reply(error: ErrorBody, content: bytes, how: str) -> InvalidReply:
    """Return the exception for an error with a success status: the message, then ``how`` it was received."""
    message = printable(error.message[:MAX_MESSAGE_CHARS]) if error.message else shown(content)
    exception = InvalidReply(f"{message} ({how})", error.code)
    exception.retryable = error.retryable
    return exception


def is_retryable(status: int) -> bool:
    """Return whether the same request may succeed after this status."""
    return status in {408, 409, 425, 429} or (status >= 500 and status not in {501, 505})


def parse_error_body(content: bytes) -> ErrorBody:
    """Parse the body of a reply without a success status; empty if no field is recognised."""
    try:
        decoded = decode_json(content)
    except NOT_JSON:
        return ErrorBody()
    return find_error(decoded, failed=True) or ErrorBody()


def find_error(body: Any, *, failed: bool = False) -> ErrorBody | None:
    """Return the error that a decoded body is or contains, None if there is none.

    Args:
        body: The decoded body.
        failed: Whether the body is known to be an error, so that a ``detail`` or ``message`` alone counts as
            well.
    """
    for error in _error_objects(body, failed):
        return _parse_error(error)
    return None


def _error_objects(body: Any, failed: bool) -> Iterator[Mapping[str, Any]]:
    """Yield the innermost objects that describe an error."""
    if isinstance(body, list):  # Gemini: a list of one error
        for each in body:
            if isinstance(each, Mapping):
                yield from _error_objects(each, failed)
        return
    if not isinstance(body, Mapping):
        if failed and isinstance(body, str) and body:
            yield {"message": body}
        return
    error = body.get("error") or body.get("errors")
    if isinstance(error, list):
        error = next((each for each in error if each), None)
    if isinstance(error, Mapping):
        inner = error.get("error")
        yield inner if isinstance(inner, Mapping) and inner else error
    elif isinstance(error, str):
        yield {**body, "message": error}
    elif error:
        yield {**body, "message": body.get("message") or repr(error)}
    elif body.get("object") == "error" or body.get("type") == "error" or failed:
        yield body


def _parse_error(error: Mapping[str, Any]) -> ErrorBody:
    names = [error.get(name) for name in ("code", "type", "status", "reason")]
    texts = [name for name in names if isinstance(name, str) and name and name.lower() != "error"]
    numbers = [
        int(name)
        for name in names
        if isinstance(name, (int, float)) and not isinstance(name, bool) and math.isfinite(name)
    ]
    numbers += [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 10]
    codes = [text for text in texts if not text.isdigit()]
    code = codes[0] if codes else str(numbers[0]) if numbers else None
    param, details = error.get("param"), error.get("details")
    inner = error.get("innererror")
    if isinstance(inner, Mapping) and isinstance(inner.get("code"), str):
        codes.append(inner["code"])
    details = [each for each in details if isinstance(each, Mapping)] if isinstance(details, list) else []
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and not metadata.keys().isdisjoint(("reasons", "flagged_input")):
        codes.append(MODERATION)
    for each in details:
        reason = each.get("reason")  # Google's ErrorInfo
        codes += [reason] if isinstance(reason, str) else []
        violations = each.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            quota = violation.get("quotaId") if isinstance(violation, Mapping) else None
            codes += [quota] if isinstance(quota, str) else []
    return ErrorBody(
        _message(error),
        code[:200] if code else None,
        param if isinstance(param, str) and param else _param_of_detail(error.get("detail")),
        next((number for number in numbers if 100 <= number <= 599), None),
        next((wait for wait in map(_retry_after, [*details, error]) if wait), None),
        frozenset(each.lower() for each in codes),
    )


def _message(error: Mapping[str, Any]) -> str | None:
    """Return the error's text for a person."""
    for name in ("message", "detail", "error_msg", "msg", "error_description", "title"):
        message = error.get(name)
        if isinstance(message, str) and message:
            return message
        if isinstance(message, Mapping):
            inner = _message(message)
            if inner:
                return inner
        if isinstance(message, list):  # FastAPI: a list of the request's mistakes
            parts = [_detail_message(each) for each in message if isinstance(each, Mapping)]
            if any(parts):
                return "; ".join(part for part in parts if part)
    return None


def _detail_message(detail: Mapping[str, Any]) -> str:
    """Return one mistake of FastAPI's list, with the place of the mistake."""
    location = detail.get("loc")
    place = ".".join(map(str, location)) if isinstance(location, list) else ""
    message = _message(detail) or ""
    return f"{place}: {message}" if place and message else message


def _param_of_detail(detail: Any) -> str | None:
    """Return the parameter that FastAPI's first ``detail`` names: ``{"loc": ["body", "temperature"]}``."""
    first = detail[0] if isinstance(detail, list) and detail else None
    location = first.get("loc") if isinstance(first, Mapping) else None
    names = location if isinstance(location, list) else ()
    return next((name for name in names if isinstance(name, str) and name != "body"), None)


def _retry_after(part: Mapping[str, Any]) -> float | None:
    """Return the requested wait in seconds in a part of an error: Google's ``RetryInfo``, or a number."""
    wait = part.get("retryDelay", part.get("retry_after"))
    if isinstance(wait, Mapping):  # protobuf's other form of a duration
        wait = wait.get("seconds", 0)
    if isinstance(wait, str):
        found = re.fullmatch(_DURATION, wait.strip())
        wait = float(found[1]) if found else wait
        if isinstance(wait, str) and wait.isascii() and wait.isdigit() and len(wait) < 10:
            wait = int(wait)
    if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not 0 < wait < 1e9:
        return None
    return float(wait)
