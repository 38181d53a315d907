"""Blots a key out of text from outside, wherever 8 characters of it stand in a row.

The 8 are counted after the public prefix of a key (``sk-proj-``), which is the same for everybody. Text is
looked through as it stands, and with JSON's, Python's, HTML's and percent escapes undone, one in another too.
A key under 8 characters (``ollama``) is a word: it protects nothing, and to blot it out would spoil the text.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

BLOT = "***"

WINDOW = 8
"""So many characters of a key in a row are too many."""

MOST_KEYS = 4
"""So many keys of an endpoint are blotted out where they follow each other; those before have expired."""

_PREFIX = re.compile(
    r"sk-ant-(?:[a-z]+\d\d-)?|sk-or-(?:v\d-)?|sk-(?:proj|svcacct|service|admin|None)-|[sp]k[-_]|csk-|gsk_|xai-|"
    r"pplx-|nvapi-|AIzaSy|AQ\.|ya29\.|hf_|r8_|fw_|tgp_v\d_|dapi|gh[a-z]_|github_pat_"
)

_FROM_COMMON_TO_RARE = 'eaitnorsldcuhmpgfbyv"0192kw_348576-.xTICSAEMPRzLBDNqjFOGHWUYVJKXQZ'
_SIDE = 4
"""Of the 8 characters around one of them, at least so many are on one side of it."""

_SHORT = 4096
"""Characters of a text in which it is faster to look at each place of one character than for several."""

_DEPTH = 4
"""Escapes of different kinds, one in another; of one kind any number is undone at once."""

_BYTE = "([2-7][0-9a-fA-F])"
_CODE = rf"u00{_BYTE}|x{_BYTE}"
_PERCENT = rf"%(?:25)*{_BYTE}"
_HTML = rf"&(?:amp;)*(?:#0*(\d{{2,3}})(?!\d);?|#[xX]0*{_BYTE};?|(\w+);)"

_ESCAPE = re.compile(rf"\\+(?:{_CODE}|(.))|{_PERCENT}|{_HTML}", re.DOTALL)
# Each by itself begins with a character that is searched for at the speed of memory.
_EACH = [re.compile(rf"\\(?:{_CODE})"), re.compile(_PERCENT), re.compile(_HTML)]


class Redactor:
    """Blots one key out; with a key of under 8 characters, or none, everything stays as it is."""

    __slots__ = ("_marks", "_odd", "_prefix", "_windows", "idle")

    def __init__(self, key: str | None) -> None:
        key = key or ""
        found = _PREFIX.match(key)
        self._prefix = found[0] if found else ""
        secret = key[len(self._prefix) :]
        size = WINDOW
        if len(secret) < WINDOW:  # too short to be found in parts
            secret, self._prefix, size = key, "", max(WINDOW, len(key))
        self._windows = [secret[at : at + size] for at in range(len(secret) - size + 1)]
        self.idle: bool = not self._windows
        """True where nothing is ever blotted out."""
        # A key that holds what begins an escape is not in text whose escapes are undone.
        self._odd = any(character in secret for character in "\\%&")
        self._marks = [
            (
                secret[at],
                secret[max(0, at - _SIDE) : at + 1],
                secret[at : at + _SIDE + 1],
                [window for window in self._windows if secret[at] in window],
            )
            for at in (_rare_places(secret) if self._windows else ())
        ]

    def content(self, content: bytes) -> bytes:
        """``content`` without the key; the same object where it is not in it."""
        if self.idle:
            return content
        text = content.decode("latin-1")  # in strings, characters are found several times as fast
        return self._blotted(text).encode("latin-1") if self._may_be_in(text) else content

    def text(self, text: str) -> str:
        """``text`` without the key; the same object where it is not in it."""
        return text if self.idle or not self._may_be_in(text) else self._blotted(text)

    def _may_be_in(self, text: str) -> bool:
        """False where the key is surely not in it: what is asked of each answer, and so has to be fast."""
        if self._odd:
            return True
        if "\\" in text or "%" in text or "&" in text:
            text = _flattened(text)
        # One character is searched for ten times as fast as several, and a rare one is seldom there.
        for mark, left, right, windows in self._marks:
            if mark in text and _stands_in(text, mark, left, right):
                for window in windows:
                    if window in text:
                        return True
        return False

    def _blotted(self, text: str) -> str:
        found: list[tuple[int, int]] = []
        layer, places = text, list(range(len(text) + 1))
        for _ in range(_DEPTH + 1):
            found += [(places[begin], places[end]) for begin, end in self._found(layer)]
            under = _unescaped(layer, places)
            if under[0] == layer:
                break
            layer, places = under
        if not found:
            return text
        parts, done = [], 0
        for begin, end in _merged(found):
            before = text[done:begin]
            parts += [before.removesuffix(self._prefix) if self._prefix else before, BLOT]
            done = end
        return "".join([*parts, text[done:]])

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        for window in self._windows:
            at = text.find(window)
            while at >= 0:
                yield at, at + len(window)
                at = text.find(window, at + 1)


class Redactors:
    """Blots out the latest `MOST_KEYS` of the keys that follow each other at one endpoint."""

    __slots__ = ("_each",)

    def __init__(self) -> None:
        self._each: deque[Redactor] = deque(maxlen=MOST_KEYS)

    def add(self, key: str) -> None:
        """Blot this key out as well from now on."""
        self._each.append(Redactor(key))

    @property
    def idle(self) -> bool:
        """True where nothing is blotted out yet."""
        return all(each.idle for each in self._each)

    def content(self, content: bytes) -> bytes:
        """``content`` without the keys; the same object where none is in it."""
        for each in self._each:
            content = each.content(content)
        return content

    def text(self, text: str) -> str:
        """``text`` without the keys; the same object where none is in it."""
        for each in self._each:
            text = each.text(text)
        return text


def _stands_in(text: str, mark: str, left: str, right: str) -> bool:
    """Whether what is on one side of a mark in the key is there in a text."""
    if len(text) > _SHORT:
        return left in text or right in text
    before = len(left) - 1
    at = text.find(mark)
    while at >= 0:
        if text.startswith(right, at) or text.startswith(left, at - before):
            return True
        at = text.find(mark, at + 1)
    return False


def _rare_places(secret: str) -> Iterator[int]:
    """Places in a key of which each 8 characters hold one, where its characters are rare in other text."""
    at = -1
    while at + WINDOW < len(secret):
        ahead = range(at + 1, at + 1 + WINDOW)
        at = max(ahead, key=lambda place: (_rarity(secret[place]) + 2 * place, place))
        yield at


def _rarity(character: str) -> int:
    place = _FROM_COMMON_TO_RARE.find(character)
    return len(_FROM_COMMON_TO_RARE) if place < 0 else place


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch each other as one."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def _unescaped(text: str, places: list[int]) -> tuple[str, list[int]]:
    """A text with its escapes undone, and where each of its characters, and its end, was to begin with."""
    parts: list[str] = []
    left: list[int] = []
    done = 0
    for match in _ESCAPE.finditer(text):
        begin, end = match.span()
        parts += [text[done:begin], _character(match)]
        left += places[done:begin]
        left += [places[begin]] * len(parts[-1])
        done = end
    left += places[done:]
    return "".join([*parts, text[done:]]), left


def _character(match: re.Match[str]) -> str:
    """What an escape stands for; a named one of another alphabet stays as it is."""
    unicode, python, itself, percent, decimal, hexadecimal, name = match.groups()
    if itself is not None:
        return itself
    code = unicode or python or percent or hexadecimal
    if code is not None:
        return chr(int(code, 16))
    if decimal is not None:
        return chr(int(decimal))
    from html.entities import html5  # 2,000 names, for what hardly ever comes

    character = html5.get(f"{name};", "")
    return character if len(character) == 1 and character.isascii() else match[0]


def _flattened(text: str) -> str:
    """What `_unescaped` makes of it in the end, as far as a key's characters are concerned."""
    codes, percent, html = _EACH
    for _ in range(_DEPTH):
        before = text
        if "\\" in text:
            if "\\u00" in text or "\\x" in text:
                text = codes.sub(_one, text)
            text = text.replace("\\", "")
        if "%" not in text and "&" not in text:
            break
        text = html.sub(_one, percent.sub(_one, text))
        if text == before:
            break
    return text


def _one(match: re.Match[str]) -> str:
    whole = _ESCAPE.fullmatch(match[0])
    return match[0] if whole is None else _character(whole)
