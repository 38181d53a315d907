"""The encodings of text input: found by a byte order mark or named by the user, and converted to UTF-8."""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from typing import IO

from headrace._support.text import nearest, quoted
from headrace.errors import InputError

_BLOCK = 128 * 1024

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_LIKELY = ("cp1252", "cp1251", "gb18030", "shift_jis", "euc_kr")
"""Encodings of old programs: Western Europe, Cyrillic, Chinese, Japanese, Korean."""

_LESS_LIKELY = ("cp1250", "cp850", "mac_roman", "big5")
"""Eastern Europe, DOS, old Macs, Taiwan: named only if no other encoding fits."""

_COMMON = (
    *_LIKELY,
    *_LESS_LIKELY,
    "utf-8",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "latin-1",
    "cp437",
)

_WORD = re.compile(r"[^\W\d_]+")


def checked_encoding(encoding: str) -> str:
    """The name of an encoding as Python knows it.

    Raises:
        InputError: There is no such encoding of text.
    """
    try:
        found = codecs.lookup(encoding)
        "x".encode(found.name)  # refuses codecs that are not encodings of text, like base64
    except (LookupError, ValueError):
        raise InputError(
            f"encoding={quoted(encoding)}: is no encoding of text; {nearest(encoding, _COMMON)}"
        ) from None
    return found.name


def encoding_by_mark(head: bytes) -> str | None:
    """The encoding that a byte order mark at the beginning of a file names; None for UTF-8 or no mark."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


def encoding_without_mark(head: bytes) -> str | None:
    """The encoding of text that has a NUL byte in most characters, but no byte order mark."""
    if head.count(0) * 5 < len(head):
        return None
    # For each of four bytes, whether it is NUL in over a third of all cases.
    nuls = [head[place::4].count(0) * 4 * 3 > len(head) for place in range(4)]
    patterns = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return patterns.get((nuls[0], nuls[1], nuls[2], nuls[3]))


def likely_encodings(text: bytes) -> list[str]:
    """The encodings in which most words of a text that is not UTF-8 look like words."""
    groups = ([each for each in group if _fits(text, each)] for group in (_LIKELY, _LESS_LIKELY))
    return next(filter(None, groups), [])


def _fits(text: bytes, encoding: str) -> bool:
    try:
        # Incremental, because a character may be cut at the end.
        words = _WORD.findall(codecs.getincrementaldecoder(encoding)().decode(text))
    except UnicodeDecodeError:
        return False
    foreign = [word for word in words if not word.isascii()]
    return bool(foreign) and sum(map(_looks_like_a_word, foreign)) * 5 >= len(foreign) * 4


def _looks_like_a_word(word: str) -> bool:
    """Whether the letters are of one script, and only the first or all are capital letters."""
    scripts = {unicodedata.name(character, "?").split()[0] for character in word}
    if len(scripts) > 1:
        return scripts <= {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}
    return word in (word.lower(), word.upper(), word.capitalize())


def undecodable(where: str, encoding: str, error: UnicodeError) -> InputError:
    """The error for bytes that are not text in an encoding; ``where`` names their place."""
    if encoding.startswith(("utf-16", "utf-32")):
        return InputError(
            f"{where}: not {_shown(encoding)} ({getattr(error, 'reason', error)}); "
            "copy or download the file again, or name another encoding with encoding="
        )
    likely: list[str] = []
    if isinstance(error, UnicodeDecodeError):
        likely = likely_encodings(error.object[max(0, error.start - 100) :][:1000])
    if not likely:
        return InputError(f"{where}: not {_shown(encoding)}; name the encoding with encoding=, like cp1252")
    return InputError(
        f"{where}: not {_shown(encoding)}, but probably {' or '.join(likely)}; "
        "name the encoding with encoding="
    )


def _shown(encoding: str) -> str:
    return encoding.upper() if encoding.startswith("utf") else encoding


class Utf8Converter(io.RawIOBase):
    """A file in another encoding, read as UTF-8; closing it closes ``file``.

    Reading raises `InputError`, which begins with ``name`` and the line, for bytes that are not text.
    """

    def __init__(self, file: IO[bytes], encoding: str, name: str) -> None:
        self._file = file
        self._encoding = encoding
        self._name = name
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._converted = b""
        self._line = 1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        ended = False
        while not self._converted and not ended:
            block = self._file.read(_BLOCK)
            ended = not block
            try:
                text = self._decoder.decode(block, final=ended)
                self._converted = text.encode()
            except UnicodeError as error:
                raise self._undecodable(error) from None
            self._line += text.count("\n")
        size = min(len(buffer), len(self._converted))
        buffer[:size] = self._converted[:size]
        self._converted = self._converted[size:]
        return size

    def _undecodable(self, error: UnicodeError) -> InputError:
        line = self._line
        if isinstance(error, UnicodeDecodeError):
            line += error.object[: error.start].decode(self._encoding, "ignore").count("\n")
        return undecodable(f"{self._name}:{line}", self._encoding, error)

    def close(self) -> None:
        self._file.close()
        super().close()
