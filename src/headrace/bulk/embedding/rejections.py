"""Which errors of a batch of texts concern some of its texts only, so that smaller batches are sent."""

from __future__ import annotations

from headrace.calls import Request
from headrace.errors import HeadraceError, RateLimited, ReplyTooLarge, StatusError
from headrace.wire.error_scope import concerns_content, shared_error

_OF_ONE_REQUEST = frozenset({400, 413, 422})
_BASE64 = (b"encoding_format", b"base64")


def concerns_some_texts(error: HeadraceError) -> bool:
    """Whether a smaller batch may be accepted: a text is not valid or too long, or there are too many."""
    if isinstance(error, ReplyTooLarge):
        return True
    if (
        not isinstance(error, StatusError)
        or isinstance(error, RateLimited)
        or shared_error(error) is not None
    ):
        return False
    return error.status in _OF_ONE_REQUEST or concerns_content(error)


def refuses_base64(error: HeadraceError, request: Request | None) -> bool:
    """Whether the endpoint does not know vectors in base64, which the request asks for."""
    if request is None or (request.body or {}).get("encoding_format") != "base64":
        return False
    if not isinstance(error, StatusError) or error.status not in _OF_ONE_REQUEST:
        return False
    return any(word in error.body for word in _BASE64)
