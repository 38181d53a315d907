"""Images, files and audio from columns, which become parts of the user message of a row.

A part holds the path of its file. It reads the file when the request is encoded, that is when the call
begins, so rows that wait hold no content.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, TypeAlias

import attrs
import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace._support.text import quoted, shortened
from headrace.bulk.nested_keys import check_key, value_at
from headrace.errors import InputError, RequestError
from headrace.wire.image_resizing import import_pillow
from headrace.wire.media_source import Source, is_url
from headrace.wire.message_part import MessagePart
from headrace.wire.message_parts import SourcePart, audio, file, image

ColumnNames: TypeAlias = str | Sequence[str]
"""The name of a column, or several."""

_PURPOSES = {"image": "the images", "file": "the files", "audio": "the audio"}


def as_names(columns: ColumnNames | None) -> tuple[str, ...]:
    """The names of columns; `MediaColumns` checks them."""
    if columns is None:
        return ()
    return tuple(columns) if isinstance(columns, Sequence) and not isinstance(columns, str) else (columns,)


class CellPart(MessagePart):
    """A part from a cell. Its errors are an `InputError` that names the row and the column."""

    __slots__ = ("_part", "_place", "type")

    def __init__(self, part: SourcePart, place: str) -> None:
        self.type: str = part.type
        self._part = part
        self._place = place

    def __repr__(self) -> str:
        return repr(self._part)

    def check_file(self) -> None:
        """Raise `InputError` for a file that is missing or too large; it is not read."""
        self._checked(self._part.check_file)

    def _content(self) -> dict[str, str]:
        content: dict[str, str] = self._checked(lambda: self._part[self.type])
        return content

    def _checked(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except RequestError as error:
            raise InputError(f"{self._place}: {error}") from error


@attrs.frozen(kw_only=True)
class MediaColumns:
    """The columns whose values become parts of the user message: images first, then files, then audio.

    A value is a path, a data URI, bytes or, for an image, a URL; or a list of these, in text as JSON. An
    empty cell adds no part.

    Args:
        image: The columns of images.
        file: The columns of files.
        audio: The columns of audio.
        max_pixels: Scale larger images down to this many pixels; None for no limit.
        binary: The columns of bytes, which a row holds as base64; see `Source.binary_columns`.

    Raises:
        InputError: A name is not valid, or images cannot be scaled down.
    """

    image: tuple[str, ...] = ()
    file: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    max_pixels: int | None = None
    binary: Set[str] = frozenset()

    def __attrs_post_init__(self) -> None:
        for keyword, names in self._by_kind():
            for number, name in enumerate(names):
                if not isinstance(name, str) or not name:
                    raise InputError(
                        f"{keyword}=: must be the name of a column, not {shortened(repr(name), 80)}"
                    )
                if name in names[:number]:
                    raise InputError(f"{keyword}=: the column {quoted(name)} is given twice; name it once")
        pixels = self.max_pixels
        if pixels is None:
            return
        if type(pixels) is not int or pixels < 1:
            raise InputError(f"max_pixels={pixels!r}: must be an integer of at least 1")
        if not self.image:
            raise InputError(f"max_pixels={pixels}: there are no images; name their column with image=")
        try:
            import_pillow()
        except RequestError as error:
            raise InputError(str(error)) from None

    def _by_kind(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        return (("image", self.image), ("file", self.file), ("audio", self.audio))

    @property
    def columns(self) -> list[str]:
        """All columns, each once."""
        return list(dict.fromkeys(self.image + self.file + self.audio))

    def check(self, row: Mapping[str, Any], where: str) -> None:
        """Raise `InputError` if the row lacks a column; the message begins with ``where``."""
        for kind, names in self._by_kind():
            for name in names:
                check_key(row, name, _PURPOSES[kind], where)

    def parts(self, row: Mapping[str, Any], where: str) -> list[CellPart]:
        """The parts of a row; raises `InputError` for a value that is none.

        Args:
            row: The row.
            where: The file and line of the row, for an error of a file that is read later.
        """
        return [
            CellPart(self._part(kind, name, source), f"{where}: column {quoted(name)}")
            for kind, names in self._by_kind()
            for name in names
            for source in self._sources(name, value_at(row, name))
        ]

    def _part(self, kind: str, column: str, source: Source) -> SourcePart:
        try:
            if kind == "image":
                # The endpoint fetches a URL, so nothing is scaled down here.
                part = image(source, max_pixels=None if is_url(source) else self.max_pixels)
            else:
                part = file(source) if kind == "file" else audio(source)
        except RequestError as error:
            raise InputError(f"column {quoted(column)}: {error}") from error
        assert isinstance(part, SourcePart)
        return part

    def _sources(self, column: str, cell: Any) -> Iterator[Source]:
        values = cell if isinstance(cell, list) else [cell]
        if isinstance(cell, str) and cell.lstrip()[:1] == "[":
            values = _list_in(cell)
        for value in values:
            if value is None or value == b"" or (isinstance(value, str) and not value.strip()):
                continue
            if isinstance(value, str) and column in self.binary:
                yield base64.b64decode(value)
            elif isinstance(value, (str, bytes)):
                yield value
            else:
                raise InputError(_wrong_value(column, value))


def _list_in(cell: str) -> list[Any]:
    """The list whose JSON a cell of text is; a name like ``[1].png`` is the path of a file."""
    try:
        found = msgspec.json.decode(cell)
    except (*NOT_JSON, UnicodeError):
        return [cell]
    return found if isinstance(found, list) else [cell]


def _wrong_value(column: str, value: object) -> str:
    if isinstance(value, Mapping) and value:
        key = quoted(f"{column}.{next(iter(value))}")
        return f"column {quoted(column)} holds an object; name a key of it, like {key}"
    return f"column {quoted(column)}: {shortened(repr(value), 80)} is not a path, a data URI or a URL"
