"""Checks the arguments of a run that do not concern its requests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from headrace._support.numbers import as_number, as_seconds, is_duration
from headrace._support.text import shortened
from headrace.client import Client
from headrace.errors import SettingsError
from headrace.settings.core_settings import MOST_IN_FLIGHT


def check_arguments(**arguments: Any) -> None:
    """Raise `SettingsError` for an argument of another type, or with an impossible value."""
    for name, value in arguments.items():
        is_valid, must_be = _RULES[name]
        if (value is not None or name in _NEVER_NONE) and not is_valid(value):
            raise SettingsError(f"{name}={_shown(value)}: must be {must_be}")


def _shown(value: Any) -> str:
    try:
        return shortened(repr(value), 80)
    except ValueError:  # an integer with more digits than Python shows
        return f"an {type(value).__name__}"


def _is_client(value: Any) -> bool:
    return isinstance(value, Client) or callable(value)


def _is_count(value: Any) -> bool:
    number = as_number(value)
    return isinstance(number, int) and number >= 1


def _is_number_of_calls(value: Any) -> bool:
    number = as_number(value)
    return isinstance(number, int) and 1 <= number <= MOST_IN_FLIGHT


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _is_column(value: Any) -> bool:
    return isinstance(value, str) or callable(value)


def _is_change(value: Any) -> bool:
    return isinstance(value, str) and value in ("refuse", "resend")


def _is_time(value: Any) -> bool:
    return is_duration(as_seconds(value))


_COUNT = (_is_count, "an integer of at least 1")
_TIME = (_is_time, "a number of seconds above 0")
_PATH = (_is_path, "a path")
_NAME = (_is_text, "the name of a column")
_MAPPING = (_is_mapping, "a mapping")

_RULES = {
    "client": (_is_client, "an open headrace.Client, or a callable that makes one"),
    "out": _PATH,
    "table": _PATH,
    "id_column": (_is_column, "the name of a column, or a function"),
    "messages": _NAME,
    "model_column": _NAME,
    "parameters": _MAPPING,
    "tags": _MAPPING,
    "extra_body": _MAPPING,
    "limit": _COUNT,
    "max_in_flight": (_is_number_of_calls, f"an integer from 1 to {MOST_IN_FLIGHT:,}"),
    "processes": _COUNT,
    "deadline": _TIME,
    "wait_for_endpoint": _TIME,
    "changed": (_is_change, "'refuse' or 'resend'"),
}

_NEVER_NONE = ("client", "processes", "wait_for_endpoint", "changed")
