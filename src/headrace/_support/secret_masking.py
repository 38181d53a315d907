"""Masks what looks like a secret in a command line or another text that is kept."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from headrace._support.redaction import KEY_PREFIX, MASK

_KEY = re.compile(rf"(?<![\w-])(?:{KEY_PREFIX.pattern})[\w.-]{{8,}}")
_USER_INFO = re.compile(r"(?<=://)[^/\s'\"]+@")
_QUERY = re.compile(r"(://[^\s'\"?]*)\?[^\s'\"]+")
_URL_USER_INFO = re.compile(r"(?<=://)(?:[^/:]*:(?!\d+/)[^@]*|[^/@]*)@")
"""A password in a URL may contain a slash that is not escaped. A port is not a password."""

_URL = re.compile(r"[A-Za-z][\w+.-]*(?:://|::)\S")
"""An argument that is a URL as a whole, and not a text with one."""

_URL_QUERY = re.compile(r"\?.+", re.DOTALL)
_NAME = r"(?:api[_-]?key|access[_-]?key|token|secret|password|passwd)"
_OPTION = re.compile(rf"(?i)--[\w-]*{_NAME}[\w-]*=?")
_NAMED = re.compile(
    rf"(?i)((?:{_NAME}|authorization)['\"]?\s*[=:]\s*(?:bearer\s+)?|\bbearer\s+|--[\w-]*{_NAME}[\w-]*\s+)"
    r"(?:(['\"]).*?\2|[^\s'\"&,}]+)"
)


def mask_keys(text: str) -> str:
    """The text without what has the form of an API key, like ``sk-…``."""
    return _KEY.sub(MASK, text)


def mask_url(url: str) -> str:
    """A URL without its user, its password and its query, which may be a signature.

    Several URLs may be chained by ``::``, as fsspec has it.
    """
    return "::".join(
        _URL_QUERY.sub(f"?{MASK}", _URL_USER_INFO.sub(f"{MASK}@", part)) if "://" in part else part
        for part in url.split("::")
    )


def mask_secrets(text: str) -> str:
    """The text without keys, users, passwords and queries of URLs, and values that are named as secrets.

    A harmless word after a name such as ``token:`` is masked too.
    """
    text = _QUERY.sub(rf"\1?{MASK}", _USER_INFO.sub(f"{MASK}@", mask_keys(text)))
    return _NAMED.sub(_mask_value, text)


def mask_command(arguments: Sequence[str]) -> str:
    """A command line without secrets, also those that are the values of options such as ``--token``."""
    masked: list[str] = []
    for argument, before in zip(arguments, ["", *arguments], strict=False):
        option = _OPTION.match(argument)
        if _OPTION.fullmatch(before) and not before.endswith("="):
            masked.append(MASK)
        elif option and option[0].endswith("="):
            masked.append(f"{option[0]}{MASK}")
        else:
            masked.append(mask_url(argument) if _URL.match(argument) else argument)
    return mask_secrets(shlex.join(masked))


def _mask_value(match: re.Match[str]) -> str:
    quote = match[2] or ""
    return f"{match[1]}{quote}{MASK}{quote}"
