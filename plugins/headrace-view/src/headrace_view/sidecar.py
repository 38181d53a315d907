"""What the sidecar of an output says about its run, by the documented form of that file."""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from headrace import InputError
from headrace.bulk import input_files, open_regular

_LARGEST = 1 << 24
_FILE_OPTIONS = ("--prompt-file", "--system-file", "--schema", "--examples", "--table", "--out")


def sidecar_of(output: Path) -> Path:
    """The sidecar of an output: in it, if that is a folder."""
    real = os.path.realpath(output)
    return Path(real, "run.journal") if os.path.isdir(real) else Path(f"{real}.journal")


def read_fingerprints(output: Path) -> list[tuple[int, Mapping[str, Any]]]:
    """The fingerprints of a run, each with the first number of its lines; empty without a sidecar."""
    try:
        with open_regular(sidecar_of(output)) as file:
            written = file.read(_LARGEST)
        records = [msgspec.json.decode(line) for line in written.split(b"\n")[:-1]]
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    found: list[tuple[int, Mapping[str, Any]]] = []
    for record in records:
        if isinstance(record, dict) and "headrace" in record:
            found.append((0 if not found else 1 << 62, record))
        elif found and isinstance(record, dict) and isinstance(record.get("first_index"), int):
            found[-1] = (record["first_index"], found[-1][1])
    return found


def fingerprint_of(output: Path, index: int | None) -> Mapping[str, Any]:
    """The fingerprint of the line with this number; empty if it is not known."""
    found: Mapping[str, Any] = {}
    for first, fingerprint in read_fingerprints(output):
        if first <= (index or 0):
            found = fingerprint
    return found


def find_inputs(output: Path, command: str | None) -> Iterator[tuple[Path, str]]:
    """The files that the command of a run may have read its rows from, the most likely first.

    Each has the prefix of its ids. The input of a run whose output is a folder may be a folder or a pattern.
    """
    try:
        arguments = shlex.split(command or "")[2:]
    except ValueError:
        return
    for folder in _folders(output, arguments):
        for path in _candidates(arguments):
            whole = folder / path
            if whole.is_file() and not whole.samefile(output):
                found = _input_of_job(whole) if whole.suffix == ".toml" else [whole]
                yield from ((each, "") for each in found)
            elif output.is_dir():
                with suppress(InputError, OSError, ValueError):
                    yield from input_files(whole)


def _candidates(arguments: list[str]) -> list[str]:
    """The arguments that are no options: first those that no option can have as its value."""
    certain: list[str] = []
    possible: list[str] = []
    for argument, before in zip(arguments, ["", *arguments], strict=False):
        if not argument.startswith("-") and before not in _FILE_OPTIONS:
            (possible if before.startswith("-") and "=" not in before else certain).append(argument)
    return certain + possible


def _folders(output: Path, arguments: list[str]) -> list[Path]:
    """The folders that the command may have been run in: where its output has the name that it gave."""
    real, folders = Path(os.path.abspath(output)), []
    for option, value in pairwise(arguments):
        if option == "--out" and not os.path.isabs(value):
            parts = Path(os.path.normpath(value)).parts
            if real.parts[-len(parts) :] == parts:
                folders.append(Path(*real.parts[: -len(parts)]))
    return [*folders, real.parent, Path.cwd()]


def _input_of_job(path: Path) -> list[Path]:
    """The input that a job file names."""
    try:
        with open_regular(path) as file:
            name = tomllib.load(file).get("input")
    except (OSError, ValueError):
        return []
    found = path.parent / name if isinstance(name, str) else None
    return [found] if found is not None and found.is_file() else []
