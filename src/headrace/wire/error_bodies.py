"""What the body of a failure says, in the many forms that endpoints give it."""

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
"""Characters of an endpoint's own message that an error repeats."""

_QUOTA = frozenset(
    "billing_hard_limit_reached billing_not_active credits_exhausted exceeded_current_quota_error "
    "insufficient_balance insufficient_credits insufficient_quota insufficient_user_quota".split()
)
# Patterns and not compiled ones: few programs meet an error in their first second, and each start would pay.
_OUT_OF_CREDIT = (
    r"(?i)insufficient (account )?(balance|credit|funds|quota)|not enough (balance|credit)"
    r"|(used|out of) (all|available|prepaid)?.{0,20}credits?|credit balance is too low|spending limit"
)
MODERATION = "moderation"
"""The word for a request that was refused for what is in it; also where OpenRouter's metadata say so."""

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
    """A failure in an endpoint's words.

    Attributes:
        message: What it says to a person.
        code: Its short name for the failure; a word rather than a number where it has both.
        param: The parameter of the request that it blames.
        status: The HTTP status that it names in the body.
        retry_after: Seconds to wait, where the body says so.
        words: All of its short names, in lower case.
    """

    message: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None
    retry_after: float | None = None
    words: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        """True where nothing in it is understood, as in an ``"error": {}`` beside an answer."""
        return self.message is None and self.code is None and self.status is None

    @property
    def is_quota_error(self) -> bool:
        """True where the account has no credit left, which no waiting mends."""
        if self.words & _QUOTA:
            return True
        return bool(self.message and re.search(_OUT_OF_CREDIT, self.message))

    @property
    def limit(self) -> str | None:
        """What a refusal by rate is about.

        "quota", "overloaded", or "requests" or "tokens" with "_per_minute" or "_per_day"; None where the
        endpoint does not say.
        """
        if self.is_quota_error:
            return "quota"
        said = " ".join([self.message or "", *self.words])
        if re.search(_OVERLOADED, said):
            return "overloaded"
        period = "day" if re.search(_PER_DAY, said) else "minute" if re.search(_PER_MINUTE, said) else None
        counted = "tokens" if re.search(_TOKENS, said) else "requests" if re.search(_REQUESTS, said) else None
        return f"{counted}_per_{period}" if period and counted else None

    @property
    def retryable(self) -> bool:
        """True where the same request may succeed later; for a failure that comes with status 200."""
        if self.is_quota_error or self.words & _NOT_RETRYABLE:
            return False
        return self.status is None or is_retryable(self.status)


def to_invalid_reply(error: ErrorBody, content: bytes, how: str) -> InvalidReply:
    """The error for a failure under a success's status: the endpoint's words, then ``how`` it came."""
    said = printable(error.message[:MAX_MESSAGE_CHARS]) if error.message else shown(content)
    failure = InvalidReply(f"{said} ({how})", error.code)
    failure.retryable = error.retryable
    return failure


def is_retryable(status: int) -> bool:
    """True for a status after which the same request may succeed."""
    return status in {408, 409, 425, 429} or (status >= 500 and status not in {501, 505})


def parse_error_body(content: bytes) -> ErrorBody:
    """What the body of an answer that is not a success says; empty where it is not understood."""
    try:
        decoded = decode_json(content)
    except NOT_JSON:
        return ErrorBody()
    return find_error(decoded, failed=True) or ErrorBody()


def find_error(body: Any, *, failed: bool = False) -> ErrorBody | None:
    """The error that a decoded body is or holds, None for none.

    ``failed``: it is known to be one, so that a bare ``detail`` or ``message`` counts as well.
    """
    for holder in _holders(body, failed):
        return _read(holder)
    return None


def _holders(body: Any, failed: bool) -> Iterator[Mapping[str, Any]]:
    """The object that describes the error, innermost."""
    if isinstance(body, list):  # Gemini: a list of one error
        for each in body:
            if isinstance(each, Mapping):
                yield from _holders(each, failed)
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


def _read(error: Mapping[str, Any]) -> ErrorBody:
    names = [error.get(name) for name in ("code", "type", "status", "reason")]
    texts = [name for name in names if isinstance(name, str) and name and name.lower() != "error"]
    numbers = [
        int(name)
        for name in names
        if isinstance(name, (int, float)) and not isinstance(name, bool) and math.isfinite(name)
    ]
    numbers += [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 10]
    words = [text for text in texts if not text.isdigit()]
    code = words[0] if words else str(numbers[0]) if numbers else None
    param, details = error.get("param"), error.get("details")
    inner = error.get("innererror")
    if isinstance(inner, Mapping) and isinstance(inner.get("code"), str):
        words.append(inner["code"])
    details = [each for each in details if isinstance(each, Mapping)] if isinstance(details, list) else []
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and not metadata.keys().isdisjoint(("reasons", "flagged_input")):
        words.append(MODERATION)
    for each in details:
        reason = each.get("reason")  # Google's ErrorInfo
        words += [reason] if isinstance(reason, str) else []
        violations = each.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            quota = violation.get("quotaId") if isinstance(violation, Mapping) else None
            words += [quota] if isinstance(quota, str) else []
    return ErrorBody(
        _message(error),
        code[:200] if code else None,
        param if isinstance(param, str) and param else _place(error.get("detail")),
        next((number for number in numbers if 100 <= number <= 599), None),
        next((wait for wait in map(_wait, [*details, error]) if wait), None),
        frozenset(word.lower() for word in words),
    )


def _message(error: Mapping[str, Any]) -> str | None:
    for name in ("message", "detail", "error_msg", "msg", "error_description", "title"):
        said = error.get(name)
        if isinstance(said, str) and said:
            return said
        if isinstance(said, Mapping):
            inner = _message(said)
            if inner:
                return inner
        if isinstance(said, list):  # FastAPI: a list of what is wrong with the request
            parts = [_detail(each) for each in said if isinstance(each, Mapping)]
            if any(parts):
                return "; ".join(part for part in parts if part)
    return None


def _detail(detail: Mapping[str, Any]) -> str:
    where = detail.get("loc")
    place = ".".join(map(str, where)) if isinstance(where, list) else ""
    said = _message(detail) or ""
    return f"{place}: {said}" if place and said else said


def _place(detail: Any) -> str | None:
    """The parameter at which FastAPI's first ``detail`` points: ``{"loc": ["body", "temperature"]}``."""
    first = detail[0] if isinstance(detail, list) and detail else None
    where = first.get("loc") if isinstance(first, Mapping) else None
    names = where if isinstance(where, list) else ()
    return next((name for name in names if isinstance(name, str) and name != "body"), None)


def _wait(holder: Mapping[str, Any]) -> float | None:
    """Seconds that a part of an error asks to wait; Google's ``RetryInfo``, or a number."""
    asked = holder.get("retryDelay", holder.get("retry_after"))
    if isinstance(asked, Mapping):  # a duration in protobuf's other form
        asked = asked.get("seconds", 0)
    if isinstance(asked, str):
        found = re.fullmatch(_DURATION, asked.strip())
        asked = float(found[1]) if found else asked
        if isinstance(asked, str) and asked.isascii() and asked.isdigit() and len(asked) < 10:
            asked = int(asked)
    if isinstance(asked, bool) or not isinstance(asked, (int, float)) or not 0 < asked < 1e9:
        return None
    return float(asked)
