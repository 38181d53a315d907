"""Removes the API key from errors before they leave the pipeline: from messages, attributes and causes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.endpoint import Endpoint
from headrace.errors import CallError, HeadraceError
from headrace.replies import Headers, Reply


def redact_error(error: CallError, endpoint: Endpoint) -> CallError:
    """Return the same error without the endpoint's key in its message, attributes and causes.

    Tracebacks are removed as well: variables of their frames contain the endpoint's text, and some tools show
    them.
    """
    if not endpoint.may_show_key:
        return error
    for each in list(_error_chain(error)):
        each.__traceback__ = None
        if isinstance(each, HeadraceError):
            each.args = tuple(_redact(value, endpoint) for value in each.args)
            for name, value in vars(each).items():
                setattr(each, name, _redact(value, endpoint))
        for name in ("__cause__", "__context__"):
            if _foreign_error_has_key(getattr(each, name), endpoint):
                setattr(each, name, None)
    return error


def _error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all its causes and contexts, each once."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            pending += [each.__cause__, each.__context__]


def _foreign_error_has_key(error: BaseException | None, endpoint: Endpoint) -> bool:
    """Return whether another library's error, which cannot be rewritten, contains the key."""
    if error is None or isinstance(error, HeadraceError):
        return False
    text = f"{error} {error!r} {getattr(error, '__dict__', '')}"
    return endpoint.without_key(text) != text


def _redact(value: Any, endpoint: Endpoint) -> Any:
    if isinstance(value, str):
        return endpoint.without_key(value)
    if isinstance(value, bytes):
        return endpoint.without_key(value)
    if isinstance(value, Headers):
        return value.redacted(endpoint.without_key)
    if isinstance(value, Reply):
        value.content = endpoint.without_key(value.content)
        value.headers = value.headers.redacted(endpoint.without_key)
        value.model = value.model and endpoint.without_key(value.model)
        value._body = None
    return value
