"""The items of an input that a user has chosen: by their ids, or by a condition over their columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import attrs

from headrace._support.text import also_named, quoted
from headrace.bulk.row_filter import FILTER, RowFilter
from headrace.bulk.sources import Item, RowSource, Source, SourceKind
from headrace.errors import InputError

Only: TypeAlias = Literal["failed"] | os.PathLike[str] | Iterable[str]
"""Which items are sent: "failed" ones again, those of a file with one id per line, those of a list, or
``"filter:…"`` with a condition over the columns."""


class Choice(Protocol):
    """Which items are chosen; `check_known` refuses a choice that does not fit to the source."""

    def check_known(self, source: Source | RowSource, /) -> None: ...
    def contains(self, item: Item, /) -> bool: ...


def as_choice(only: Only | None) -> Choice | None:
    """What ``only`` chooses; None if it chooses no rows.

    Raises:
        InputError: It cannot be read, or chooses nothing.
    """
    if isinstance(only, str) and only.startswith(FILTER):
        return RowFilter(only.removeprefix(FILTER))
    return ChosenIds.of(only)


@attrs.frozen
class ChosenIds:
    """Ids that a user has chosen.

    Args:
        lines: The ids, each with its line in the file, or its place in the list, from 1.
        file: The file; None for a list.
    """

    lines: Mapping[str, int] = attrs.field(repr=False)
    file: Path | None = None

    @classmethod
    def of(cls, only: Only | None) -> ChosenIds | None:
        """The ids that ``only`` chooses; None if it chooses no ids.

        Raises:
            InputError: The file cannot be read, or contains no ids.
        """
        if only is None or (isinstance(only, str) and only == "failed"):
            return None
        if isinstance(only, str) or not isinstance(only, Iterable | os.PathLike):
            raise InputError(
                f'only={quoted(only)}: must be "failed", "filter:" and a condition, a list of ids, or the '
                "Path of a file with one id per line"
            )
        if isinstance(only, os.PathLike):
            file = Path(only)
            chosen = cls(_numbered(_read(file)), file)
        else:
            chosen = cls(_numbered(str(id) for id in only))
        if not chosen.lines:
            where = "only=" if chosen.file is None else f"only={chosen.file}"
            raise InputError(f"{where}: contains no ids; add at least one")
        return chosen

    def contains(self, item: Item) -> bool:
        """Whether an item is chosen."""
        return item.id in self.lines

    def check_known(self, source: Source | RowSource) -> None:
        """Read the whole input, and raise `InputError` if it lacks some of the ids."""
        unknown = dict(self.lines)
        for item in source.items():
            unknown.pop(item.id, None)
            if not unknown:
                return
        (first, line), *others = unknown.items()
        also = also_named([id for id, _ in others])
        where = "only=" if self.file is None else f"{self.file}:{line}"
        raise InputError(
            f"{where}: no item of {source.name} has the id {quoted(first)}{also}; "
            "correct the ids, nothing was sent"
        )


def _numbered(ids: Iterable[str]) -> dict[str, int]:
    """The ids that are not empty, in order, each with the number of its first place."""
    lines: dict[str, int] = {}
    for number, id in enumerate(ids, 1):
        if id:
            lines.setdefault(id, number)
    return lines


def _read(file: Path) -> list[str]:
    """The lines of a file, without their ends."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"only={file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}:{line}: not UTF-8; save the ids as UTF-8") from None
    return [line.removesuffix("\r") for line in text.split("\n")]


class ChosenItems:
    """The chosen items of a source, as the input of a `Task`.

    Args:
        source: The source.
        choice: Which items.

    Raises:
        InputError: The choice does not fit to the source, like an unknown id, or a row of the source is not
            valid. The whole source may be read.
    """

    def __init__(self, source: Source | RowSource, choice: Choice) -> None:
        if isinstance(source, RowSource) and not source.repeatable:
            raise InputError("only=: needs rows that can be read twice, like a list or a file")
        choice.check_known(source)
        self._source = source
        self._choice = choice
        self.name: str = source.name
        self.kind: SourceKind = source.kind
        self.id_column: str | None = source.id_column
        self.binary_columns: frozenset[str] = source.binary_columns
        self.columns: list[str] = source.columns

    def where(self, line: int) -> str:
        """See `Source.where`."""
        return self._source.where(line)

    def items(self) -> Iterator[Item]:
        """The chosen items, in the order of the source."""
        return filter(self._choice.contains, self._source.items())

    def check_unchanged(self) -> None:
        """See `Source.check_unchanged`."""
        self._source.check_unchanged()
