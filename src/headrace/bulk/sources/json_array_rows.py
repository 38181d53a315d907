"""Objects of one JSON array, read as a stream: only the text of one object is in memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import IO, Any

from headrace._support.text import quoted
from headrace.bulk.sources.files import InputFile
from headrace.bulk.sources.jsonl_rows import decode_object
from headrace.errors import InputError

_BLOCK = 128 * 1024
_LONGEST_OBJECT = 64 * 1024 * 1024

_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+([{}\[\]])', re.DOTALL)
"""Everything up to the next bracket outside strings; no match if a string does not end."""

_NO_SPACE = re.compile(rb"[^ \t\r\n]")

_OTHER_VALUES = {b"[": "an array", b'"': "a string", b"t": "a boolean", b"f": "a boolean", b"n": "null"}


class JsonArrayRows:
    """The objects of a JSON array, numbered from 1; ``columns`` are the members of the first."""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        with closing(self._objects()) as objects:
            _, first = next(objects, (1, b"{}"))
        self.columns: list[str] = list(decode_object(first, self._where, 1))

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, text in self._objects():
            yield number, decode_object(text, self._where, number)

    def _where(self, number: int) -> str:
        return f"{self._file.name}, row {number}"

    def _objects(self) -> Generator[tuple[int, bytes], None, None]:
        """The text of each object, with its number."""
        with self._file.open_text() as content:
            text = _Text(content)
            text.skip_mark()
            assert text.next_byte() == b"["
            text.drop(1)
            number, after_comma = 1, False
            while (begin := text.next_byte()) != b"]" or after_comma:
                self._check_begin(begin, number)
                size = text.size_of_object()
                if size is None:
                    reason = "is cut short" if text.ended else f"is larger than {_LONGEST_OBJECT >> 20} MiB"
                    raise InputError(f"{self._where(number)}: the object {reason}")
                yield number, text.drop(size)
                number += 1
                after_comma = text.next_byte() == b","
                if after_comma:
                    text.drop(1)
                elif (found := text.next_byte()) != b"]":
                    what = f"there is {_shown(found)}" if found else "the file ends"
                    raise InputError(
                        f"{self._where(number - 1)}: behind the object must be a comma or ], but {what}"
                    )
            text.drop(1)
            if found := text.next_byte():
                raise InputError(
                    f"{self._file.name}: behind the array is {_shown(found)}; remove what follows it"
                )

    def _check_begin(self, begin: bytes, number: int) -> None:
        if begin == b"{":
            return
        if not begin:
            raise InputError(f"{self._file.name}: the array is cut short; copy or download the file again")
        if begin in _OTHER_VALUES or begin.isdigit() or begin == b"-":
            raise InputError(
                f"{self._where(number)}: must be a JSON object, not {_OTHER_VALUES.get(begin, 'a number')}"
            )
        raise InputError(f"{self._where(number)}: not JSON: must begin with {{, not with {_shown(begin)}")


def _shown(byte: bytes) -> str:
    return quoted(byte.decode("utf-8", "replace"))


class _Text:
    """The part of the array that was read and not dropped yet."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self._text = b""
        self._begin = 0
        self.ended = False

    def skip_mark(self) -> None:
        """Drop a byte order mark."""
        self._read_more()
        self._text = self._text.removeprefix(codecs.BOM_UTF8)

    def _read_more(self) -> None:
        kept = self._text[self._begin :]
        # Blocks as long as what is there: a long object is not copied for each block of it.
        block = self._content.read(max(_BLOCK, len(kept)))
        self._text, self._begin, self.ended = kept + block, 0, not block

    def next_byte(self) -> bytes:
        """The next byte that is no space, which is not dropped; empty at the end."""
        while True:
            found = _NO_SPACE.search(self._text, self._begin)
            if found is not None:
                self._begin = found.start()
                return found[0]
            self._begin = len(self._text)
            if self.ended:
                return b""
            self._read_more()

    def drop(self, size: int) -> bytes:
        """The next bytes, which are dropped."""
        begin, self._begin = self._begin, self._begin + size
        return self._text[begin : self._begin]

    def size_of_object(self) -> int | None:
        """The size of the object that begins here; None if it does not end, or is too large."""
        depth, place = 0, self._begin
        while True:
            while found := _TO_BRACKET.match(self._text, place):
                place = found.end()
                depth += 1 if found[1] in b"{[" else -1
                if not depth:
                    return place - self._begin
            if self.ended or len(self._text) - self._begin > _LONGEST_OBJECT:
                return None
            place -= self._begin
            self._read_more()
