"""Splits an expression into tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import attrs

from headrace._support.text import quoted
from headrace.errors import InputError

LONGEST = 2_000
"""Characters of an expression."""

_LONGEST_SHOWN = 80
"""Characters of an expression in a message; of a longer one, those around the mistake are shown."""

TokenKind: TypeAlias = Literal["value", "name", "word", "symbol", "end"]
"""What a token is; "word" is ``and``, ``or``, ``not`` or ``in``."""

_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_WORDS = frozenset({"and", "or", "not", "in"})

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.]))
    |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<quoted>`[^`]+`)
    |(?P<name>[^\W\d][\w-]*(?:\.[^\W\d][\w-]*)*)
    |(?P<symbol>==|!=|<=|>=|[<>()\[\],])
    )""",
    re.VERBOSE | re.DOTALL,
)
"""One token. A name may have letters of any language, and dots between its parts."""

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}

_ADVICE = {
    "=": "to compare, write ==",
    "&": "write and",
    "|": "write or",
    "!": "write not, or !=",
    "'": "this text has no end; add a quote",
    '"': "this text has no end; add a quote",
    "`": "this name has no end; add a backtick",
}


@attrs.frozen
class Token:
    """A part of an expression: a value, a name, a word or a symbol.

    Attributes:
        kind: What it is.
        value: The value, the name, or the word or symbol itself.
        place: Its position in the text, from 0.
    """

    kind: TokenKind
    value: Any
    place: int


def syntax_error(text: str, place: int, reason: str) -> InputError:
    """An error that shows a place in an expression."""
    start = 0 if len(text) <= _LONGEST_SHOWN else max(0, place - 30)
    around = ("…" if start else "") + text[start:]
    where = f"at {quoted(text[place : place + 20])}" if place < len(text) else "at its end"
    return InputError(f"{quoted(around, _LONGEST_SHOWN)}: {where} (character {place + 1}): {reason}")


def tokens_of(text: str) -> Iterator[Token]:
    """The tokens of an expression, and one of the kind "end".

    Raises:
        InputError: The text is too long, or has a character that begins no token.
    """
    if len(text) > LONGEST:
        raise InputError(f"has {len(text):,} characters; the most are {LONGEST:,}")
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            place += len(text[place:]) - len(text[place:].lstrip())
            raise syntax_error(text, place, _ADVICE.get(text[place], "is not part of an expression"))
        yield _token(found)
        place = found.end()
    yield Token("end", "", len(text))


def _token(found: re.Match[str]) -> Token:
    kind = str(found.lastgroup)
    text, place = found[kind], found.start(kind)
    if kind == "number":
        return Token("value", int(text) if text.lstrip("-").isdigit() else float(text), place)
    if kind == "text":
        value = _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), text[1:-1])
        return Token("value", value, place)
    if kind == "quoted":
        return Token("name", text[1:-1], place)
    if kind == "name" and text in _CONSTANTS:
        return Token("value", _CONSTANTS[text], place)
    if kind == "name" and text in _WORDS:
        return Token("word", text, place)
    return Token("name" if kind == "name" else "symbol", text, place)
