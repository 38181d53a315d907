"""The keys of a job file: their kinds, and the checks of their values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from headrace._support.text import nearest, quoted, shortened
from headrace.errors import InputError

Convert: TypeAlias = Callable[[Any, Path], Any]
"""Checks a value of a file in this folder and converts it; raises `ValueError` with what it must be."""


def text(value: Any, folder: Path) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def path(value: Any, folder: Path) -> str:
    """The path of a file, relative to the job file; - is stdin or stdout."""
    name = text(value, folder)
    return name if name == "-" or "://" in name else os.path.normpath(folder / name)


def count(value: Any, folder: Path) -> int:
    """A positive integer."""
    if type(value) is not int or value < 1:
        raise ValueError("must be an integer of at least 1")
    return value


def flag(value: Any, folder: Path) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def duration(value: Any, folder: Path) -> str:
    """A time with its unit."""
    if not isinstance(value, str):
        raise ValueError('must be a text with a unit, like "30s" or "2h"')
    return value


def amount(value: Any, folder: Path) -> str:
    """An amount of money."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be an amount in USD, like 5.00")
    return str(value)


def priority(value: Any, folder: Path) -> int | str:
    """An integer, or @ and a column."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('must be an integer, or "@" and the name of a column')
    return value


def texts(value: Any, folder: Path) -> list[str]:
    """A list of texts; a single text may stand for a list of one."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError("must be a list of texts")
    return found


def choices(value: Any, folder: Path) -> list[str]:
    """A list of texts, or a text with commas, as on the command line."""
    return value.split(",") if isinstance(value, str) else texts(value, folder)


def table(value: Any, folder: Path) -> Mapping[str, Any]:
    """A table, like ``{temperature = 0}``."""
    if not isinstance(value, Mapping):
        raise ValueError("must be a table, like {temperature = 0}")
    return value


def one_of(*words: str) -> Convert:
    """One of some words."""

    def convert(value: Any, folder: Path) -> str:
        if value not in words:
            raise ValueError(f"must be {' or '.join(map(repr, words))}")
        return str(value)

    return convert


REQUEST_KEYS: Mapping[str, Convert] = {
    "prompt": text,
    "prompt_file": path,
    "system": text,
    "system_file": path,
    "template": one_of("braces", "jinja"),
    "messages": text,
    "examples": path,
    "choices": choices,
    "schema": path,
    "model_column": text,
    "parameters": table,
    "extra_body": table,
    "image": texts,
    "file": texts,
    "audio": texts,
    "max_pixels": count,
}
"""What makes a request: keys of a step, and of a job without steps."""

STEP_KEYS: Mapping[str, Convert] = {
    "name": text,
    "when": text,
    "output": text,
    "model": text,
    **REQUEST_KEYS,
}

JOB_KEYS: Mapping[str, Convert] = {
    "input": path,
    "out": path,
    "table": path,
    "encoding": text,
    "id_column": text,
    "limit": count,
    "on_missing": one_of("refuse", "fail-row"),
    "fail_on": choices,
    "model": text,
    "base_url": text,
    "tags": table,
    "priority": priority,
    "max_in_flight": count,
    "processes": count,
    "budget": amount,
    "deadline": duration,
    "wait_for_endpoint": duration,
    "samples": count,
    "vote": flag,
    **REQUEST_KEYS,
}
"""The keys of a job."""


def checked(
    values: Mapping[str, Any], keys: Mapping[str, Convert], where: str, folder: Path
) -> dict[str, Any]:
    """The converted values of a table.

    Args:
        values: The table.
        keys: What it may have.
        where: The beginning of messages.
        folder: The folder of the file.

    Raises:
        InputError: A key is unknown, or a value is of a wrong type.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in keys:
            raise InputError(f"{where}: unknown key {quoted(key)}; {nearest(key, keys)}")
        try:
            found[key] = keys[key](value, folder)
        except ValueError as error:
            raise InputError(f"{where}: {key} {error}, not {shortened(repr(value), 60)}") from None
    for part in ("prompt", "system"):
        if part in found and f"{part}_file" in found:
            raise InputError(f"{where}: {part} and {part}_file both set the {part}; leave out one of them")
    return found
