"""Strings that match a regular expression, for the `pattern` of a JSON schema.

It reads literals, classes, groups, alternatives and repetitions. Lookarounds and anchors produce nothing; the
result is checked against the whole pattern, and other characters are tried if it does not match.
"""

import random
import re
import string
from collections.abc import Callable

_LETTERS = string.ascii_lowercase + string.ascii_uppercase
_WORD = _LETTERS + string.digits
_PRINTABLE = _WORD + string.punctuation + " "
_ESCAPES = {
    "d": string.digits,
    "D": _LETTERS,
    "w": _WORD + "_",
    "W": "-. ",
    "s": " ",
    "S": _WORD,
    "n": "\n",
    "t": "\t",
    "r": "\r",
}
_NO_CHARACTER = "bBAZz"
_GROUP = re.compile(r"\?(?:P?<\w+>|:)")
_LOOKAROUND = re.compile(r"\?<?[=!]")
_COUNT = re.compile(r"\{(?=,?\d)(\d*)(,?)(\d*)\}")
_CODE = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})")
_PROPERTY = re.compile(r"[pP]\{\^?\w+\}")

_MOST_ATTEMPTS = 200
_UNBOUNDED = 1 << 20

_Pick = Callable[[int], int]
"""Picks a number below this one."""

_Make = Callable[[int, _Pick], str]
"""Makes the text of a part. The number is how often repetitions occur in addition to their minimum."""


def matching_string(pattern: str, least: int = 0, most: int | None = None, variant: int = 0) -> str | None:
    """A string that matches a pattern, or None if none is found.

    Args:
        pattern: A regular expression.
        least: The fewest characters.
        most: The most characters; None for no limit.
        variant: Another number gives another string if the pattern allows one.
    """
    try:
        make = _Parser(pattern).parse()
        search = re.compile(pattern).search
    except (ValueError, TypeError, IndexError, re.error):
        return None
    for attempt in range(_MOST_ATTEMPTS):
        pick = _first if attempt == variant == 0 else random.Random(f"{variant}/{attempt}").randrange
        for extra in range(max(least, 2) + 1):
            text = make(extra, pick)
            if most is not None and len(text) > most:
                break
            if len(text) >= least and search(text):
                return text
    return None


def _first(_: int) -> int:
    return 0


class _Parser:
    """A recursive descent over the pattern; raises `ValueError` for what it cannot read."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def parse(self) -> _Make:
        make = self._alternatives()
        if self._at < len(self._pattern):
            raise ValueError("a bracket that was not opened")
        return make

    def _alternatives(self) -> _Make:
        options = [self._sequence()]
        while self._next_is("|"):
            options.append(self._sequence())
        if len(options) == 1:
            return options[0]
        return lambda extra, pick: options[pick(len(options))](extra, pick)

    def _sequence(self) -> _Make:
        parts: list[_Make] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return lambda extra, pick: "".join([part(extra, pick) for part in parts])

    def _repeated(self, part: _Make) -> _Make:
        least, most = self._quantifier()
        if least == most == 1:
            return part

        def make(extra: int, pick: _Pick) -> str:
            return "".join([part(extra, pick) for _ in range(min(least + extra, most))])

        return make

    def _quantifier(self) -> tuple[int, int]:
        found = {"*": (0, _UNBOUNDED), "+": (1, _UNBOUNDED), "?": (0, 1)}.get(self._rest()[:1])
        if found is not None:
            self._at += 1
        elif count := _COUNT.match(self._pattern, self._at):
            self._at = count.end()
            least = int(count[1] or 0)
            found = least, int(count[3]) if count[3] else _UNBOUNDED if count[2] else least
        else:
            return 1, 1
        self._at += self._rest()[:1] in ("?", "+")  # lazy or possessive
        return found

    def _atom(self) -> _Make:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return _one_of(self._class())
        if character == "\\":
            return _one_of(self._escape())
        if character in "^$":
            return _nothing
        return _one_of(_PRINTABLE if character == "." else character)

    def _group(self) -> _Make:
        is_lookaround = self._skip(_LOOKAROUND)
        if not is_lookaround and not self._skip(_GROUP) and self._rest()[:1] == "?":
            raise ValueError("a group of another kind")
        inner = self._alternatives()
        if not self._next_is(")"):
            raise ValueError("a group without an end")
        return _nothing if is_lookaround else inner

    def _class(self) -> str:
        """The characters of a class, without its brackets."""
        negated = self._next_is("^")
        found, first = "", True
        while first or self._rest()[:1] != "]":
            first = False
            some = self._class_character()
            if len(some) == 1 and self._rest()[:1] == "-" and self._rest()[1:2] != "]":
                self._at += 1
                last = self._class_character()
                some = "".join(map(chr, range(ord(some), ord(last) + 1)))
            found += some
        self._at += 1
        return "".join(each for each in _PRINTABLE if each not in found) if negated else found

    def _class_character(self) -> str:
        character = self._take()
        return self._escape() if character == "\\" else character

    def _escape(self) -> str:
        """The characters that the escape after a backslash stands for."""
        if code := _CODE.match(self._pattern, self._at):
            self._at = code.end()
            return chr(int(code[1] or code[2], 16))
        if self._skip(_PROPERTY):
            return _LETTERS
        character = self._take()
        if character.isdigit():
            raise ValueError("a reference to a group")
        return "" if character in _NO_CHARACTER else _ESCAPES.get(character, character)

    def _rest(self) -> str:
        return self._pattern[self._at : self._at + 2]

    def _take(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1]

    def _next_is(self, character: str) -> bool:
        found = self._rest()[:1] == character
        self._at += found
        return found

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        found = pattern.match(self._pattern, self._at)
        if found is not None:
            self._at = found.end()
        return found is not None


def _nothing(_: int, __: _Pick) -> str:
    return ""


def _one_of(characters: str) -> _Make:
    if not characters:
        return _nothing
    return lambda _, pick: characters[pick(len(characters))]
