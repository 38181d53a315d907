"""Errors of calls on their way out of the pipeline: no key in what they say, hold, or were caused by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.endpoint import Endpoint
from headrace.errors import CallError, HeadraceError
from headrace.replies import Headers, Reply


def redact_error(error: CallError, endpoint: Endpoint) -> CallError:
    """The same error, less the endpoint's key in its message, its attributes and its causes.

    The frames of parsers and decoders go as well: their variables hold what the endpoint said, and there are
    tools that show a traceback's variables.
    """
    if not endpoint.may_show_key:
        return error
    for each in list(_chain(error)):
        each.__traceback__ = None
        if isinstance(each, HeadraceError):
            each.args = tuple(_redacted(value, endpoint) for value in each.args)
            for name, value in vars(each).items():
                setattr(each, name, _redacted(value, endpoint))
        for name in ("__cause__", "__context__"):
            if _tells_key(getattr(each, name), endpoint):
                setattr(each, name, None)
    return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]


def _tells_key(error: BaseException | None, endpoint: Endpoint) -> bool:
    """True for somebody else's error, which cannot be rewritten, where it repeats the key."""
    if error is None or isinstance(error, HeadraceError):
        return False
    said = f"{error} {error!r} {getattr(error, '__dict__', '')}"
    return endpoint.without_key(said) != said


def _redacted(value: Any, endpoint: Endpoint) -> Any:
    if isinstance(value, str):
        return endpoint.without_key(value)
    if isinstance(value, bytes):
        return endpoint.without_key(value)
    if isinstance(value, Headers):
        return value.less(endpoint.without_key)
    if isinstance(value, Reply):
        value.content = endpoint.without_key(value.content)
        value.headers = value.headers.less(endpoint.without_key)
        value.model = value.model and endpoint.without_key(value.model)
        value._body = None
    return value
