"""Masks what looks like a secret in a command line or another text that is kept."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from headrace._support.redaction import KEY_PREFIX, MASK

_KEY = re.compile(rf"(?<![\w-])(?:{KEY_PREFIX.pattern})[\w.-]{{8,}}")
_USER_INFO = re.compile(r"(?<=://)[^/\s'\"]+@")
_NAME = r"(?:api[_-]?key|access[_-]?key|token|secret|password|passwd)"
_OPTION = re.compile(rf"(?i)--[\w-]*{_NAME}[\w-]*=?")
_NAMED = re.compile(
    rf"(?i)((?:{_NAME}|authorization)['\"]?\s*[=:]\s*(?:bearer\s+)?|\bbearer\s+|--[\w-]*{_NAME}[\w-]*\s+)"
    r"(?:(['\"]).*?\2|[^\s'\"&,}]+)"
)


def mask_keys(text: str) -> str:
    """The text without what has the form of an API key, like ``sk-…``."""
    return _KEY.sub(MASK, text)


def mask_secrets(text: str) -> str:
    """The text without keys, user names and passwords of URLs, and values that are named as secrets.

    A harmless word after a name such as ``token:`` is masked too.
    """
    return _NAMED.sub(_mask_value, _USER_INFO.sub(f"{MASK}@", mask_keys(text)))


def mask_command(arguments: Sequence[str]) -> str:
    """A command line without secrets, also those that are the values of options such as ``--token``."""
    masked: list[str] = []
    for argument, before in zip(arguments, ["", *arguments], strict=False):
        option = _OPTION.match(argument)
        if _OPTION.fullmatch(before) and not before.endswith("="):
            masked.append(MASK)
        else:
            masked.append(f"{option[0]}{MASK}" if option and option[0].endswith("=") else argument)
    return mask_secrets(shlex.join(masked))


def _mask_value(match: re.Match[str]) -> str:
    quote = match[2] or ""
    return f"{match[1]}{quote}{MASK}{quote}"
