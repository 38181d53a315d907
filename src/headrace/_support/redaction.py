"""Removes a key from foreign text, wherever 8 consecutive characters of it appear.

The public prefix of a key (``sk-proj-``) is not part of those 8 characters, because all keys share it. The
text is searched as it is and with JSON, Python, HTML and percent escapes undone, nested ones too. A key of
fewer than 8 characters (``ollama``) is a plain word: it protects nothing, and removing it would damage text.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

MASK = "***"

WINDOW = 8
"""This many consecutive characters of a key are removed."""

MAX_KEYS = 4
"""How many of the latest keys of an endpoint are removed; earlier ones have expired."""

KEY_PREFIX = re.compile(
    r"sk-ant-(?:[a-z]+\d\d-)?|sk-or-(?:v\d-)?|sk-(?:proj|svcacct|service|admin|None)-|[sp]k[-_]|csk-|gsk_|xai-|"
    r"pplx-|nvapi-|AIzaSy|AQ\.|ya29\.|hf_|r8_|fw_|tgp_v\d_|dapi|gh[a-z]_|github_pat_"
)
"""The public prefixes of keys."""

_FROM_COMMON_TO_RARE = 'eaitnorsldcuhmpgfbyv"0192kw_348576-.xTICSAEMPRzLBDNqjFOGHWUYVJKXQZ'
_SIDE = 4
"""Of 8 characters that contain a mark, at least this many are on one side of it."""

_SHORT = 4096
"""Up to this text length, checking each position of one character is faster than searching for several."""

_DEPTH = 4
"""How many nested escapes of different kinds are undone; any number of one kind is undone at once."""

_BYTE = "([2-7][0-9a-fA-F])"
_CODE = rf"u00{_BYTE}|x{_BYTE}"
_PERCENT = rf"%(?:25)*{_BYTE}"
_HTML = rf"&(?:amp;)*(?:#0*(\d{{2,3}})(?!\d);?|#[xX]0*{_BYTE};?|(\w+);)"

_ESCAPE = re.compile(rf"\\+(?:{_CODE}|(.))|{_PERCENT}|{_HTML}", re.DOTALL)
# Each of these begins with a fixed character, which is searched for at the speed of memory.
_EACH = [re.compile(rf"\\(?:{_CODE})"), re.compile(_PERCENT), re.compile(_HTML)]


class Redactor:
    """Removes one key from text; does nothing for a key of fewer than 8 characters, or for none."""

    __slots__ = ("_marks", "_odd", "_prefix", "_windows", "is_noop")

    def __init__(self, key: str | None) -> None:
        key = key or ""
        found = KEY_PREFIX.match(key)
        self._prefix = found[0] if found else ""
        secret = key[len(self._prefix) :]
        size = WINDOW
        if len(secret) < WINDOW:  # too short to be found in parts
            secret, self._prefix, size = key, "", max(WINDOW, len(key))
        self._windows = [secret[at : at + size] for at in range(len(secret) - size + 1)]
        self.is_noop: bool = not self._windows
        """True if nothing is ever removed."""
        # A key that contains the first character of an escape is not found in unescaped text.
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
        """``content`` without the key; the same object if it is not in it."""
        if self.is_noop:
            return content
        text = content.decode("latin-1")  # in strings, characters are found several times as fast
        return self._redacted(text).encode("latin-1") if self._may_be_in(text) else content

    def text(self, text: str) -> str:
        """``text`` without the key; the same object if it is not in it."""
        return text if self.is_noop or not self._may_be_in(text) else self._redacted(text)

    def _may_be_in(self, text: str) -> bool:
        """False if the key is certainly not in the text; called for each reply, so it must be fast."""
        if self._odd:
            return True
        if "\\" in text or "%" in text or "&" in text:
            text = _flattened(text)
        # Searching for one character is ten times as fast as for several, and a rare one is seldom found.
        for mark, left, right, windows in self._marks:
            if mark in text and _is_near(text, mark, left, right):
                for window in windows:
                    if window in text:
                        return True
        return False

    def _redacted(self, text: str) -> str:
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
            parts += [before.removesuffix(self._prefix) if self._prefix else before, MASK]
            done = end
        return "".join([*parts, text[done:]])

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        for window in self._windows:
            at = text.find(window)
            while at >= 0:
                yield at, at + len(window)
                at = text.find(window, at + 1)


class MultiRedactor:
    """Removes the latest `MAX_KEYS` keys of an endpoint whose key changes."""

    __slots__ = ("_each",)

    def __init__(self) -> None:
        self._each: deque[Redactor] = deque(maxlen=MAX_KEYS)

    def add(self, key: str) -> None:
        """Remove this key as well from now on."""
        self._each.append(Redactor(key))

    @property
    def is_noop(self) -> bool:
        """True if nothing is removed yet."""
        return all(each.is_noop for each in self._each)

    def content(self, content: bytes) -> bytes:
        """``content`` without the keys; the same object if none is in it."""
        for each in self._each:
            content = each.content(content)
        return content

    def text(self, text: str) -> str:
        """``text`` without the keys; the same object if none is in it."""
        for each in self._each:
            text = each.text(text)
        return text


def _is_near(text: str, mark: str, left: str, right: str) -> bool:
    """Whether ``text`` holds the neighbours that ``mark`` has in the key, on one side of it."""
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
    """Positions of rare characters in a key, at least one in each 8 characters."""
    at = -1
    while at + WINDOW < len(secret):
        ahead = range(at + 1, at + 1 + WINDOW)
        at = max(ahead, key=lambda place: (_rarity(secret[place]) + 2 * place, place))
        yield at


def _rarity(character: str) -> int:
    place = _FROM_COMMON_TO_RARE.find(character)
    return len(_FROM_COMMON_TO_RARE) if place < 0 else place


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted spans; those that touch or overlap become one."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def _unescaped(text: str, places: list[int]) -> tuple[str, list[int]]:
    """A text with its escapes undone, and the original position of each of its characters and its end."""
    parts: list[str] = []
    origins: list[int] = []
    done = 0
    for match in _ESCAPE.finditer(text):
        begin, end = match.span()
        parts += [text[done:begin], _character(match)]
        origins += places[done:begin]
        origins += [places[begin]] * len(parts[-1])
        done = end
    origins += places[done:]
    return "".join([*parts, text[done:]]), origins


def _character(match: re.Match[str]) -> str:
    """The character of an escape; a named character outside ASCII stays escaped."""
    unicode, python, itself, percent, decimal, hexadecimal, name = match.groups()
    if itself is not None:
        return itself
    code = unicode or python or percent or hexadecimal
    if code is not None:
        return chr(int(code, 16))
    if decimal is not None:
        return chr(int(decimal))
    from html.entities import html5  # 2,000 names that are hardly ever needed

    character = html5.get(f"{name};", "")
    return character if len(character) == 1 and character.isascii() else match[0]


def _flattened(text: str) -> str:
    """A text with its escapes undone like `_unescaped`, but only those of characters that keys contain."""
    codes, percent, html = _EACH
    for _ in range(_DEPTH):
        before = text
        if "\\" in text:
            if "\\u00" in text or "\\x" in text:
                text = codes.sub(_unescape_match, text)
            text = text.replace("\\", "")
        if "%" not in text and "&" not in text:
            break
        text = html.sub(_unescape_match, percent.sub(_unescape_match, text))
        if text == before:
            break
    return text


def _unescape_match(match: re.Match[str]) -> str:
    escape = _ESCAPE.fullmatch(match[0])
    return match[0] if escape is None else _character(escape)
