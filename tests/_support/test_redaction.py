"""A key, or 8 consecutive characters of it, is removed from foreign text, and nothing else is."""

from __future__ import annotations

import html
import json
import re
import string
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._support.redaction import Redactor

LETTERS = string.ascii_letters + string.digits
KEYS = [
    "sk-canary-f00dfeed",
    "sk-proj-AbCdEfGh0123-_",
    "0123456789abcdef0123456789abcdef",
    "ab+/cd==ef.gh~ij:k",
]

prefixes = st.sampled_from(["", "sk-", "sk-proj-", "sk-ant-api03-", "sk-or-v1-", "gsk_", "xai-", "AIzaSy"])
keys = st.tuples(prefixes, st.text(LETTERS + "-_+/=.:~", min_size=8, max_size=60))


def each(write: str) -> list[str]:
    """All ways to write one character of a key that ``write`` names."""
    code = ord(write)
    ways = [write, f"\\u{code:04x}", f"\\u{code:04X}", f"\\x{code:02x}", f"%{code:02X}", f"%25{code:02x}"]
    ways += [
        f"&#{code};",
        f"&#x{code:x};",
        f"&#0{code};",
        f"&amp;#{code};",
        f"\\\\u{code:04x}",
        f"\\u0026#{code};",
    ]
    ways += [f"\\u0025{code:02x}"]
    named = {"+": "plus", "/": "sol", "=": "equals", "_": "lowbar", ".": "period", ":": "colon"}
    if write in named:
        ways.append(f"&{named[write]};")
    if write not in LETTERS:
        ways += ["\\" + write, "\\\\\\" + write]
    return ways


def undone(text: str) -> set[str]:
    """``text`` with its escapes undone in each order."""
    found, new = set(), {text}
    while new:
        found |= new
        new = {
            under
            for each in new
            for under in (html.unescape(each), unquote(each), unslashed(each), each.replace("\\", ""))
        } - found
    return found


def unslashed(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code, 16)) if code else match[3]

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", character, text, flags=re.DOTALL)


def shows(text: str, secret: str) -> bool:
    windows = [secret[at : at + 8] for at in range(len(secret) - 7)]
    return any(window in each for each in undone(text) for window in windows)


@given(key=keys, data=st.data())
def test_eight_characters_of_a_key_are_removed_in_any_escaping(
    key: tuple[str, str], data: st.DataObject
) -> None:
    prefix, secret = key
    begin = data.draw(st.integers(0, len(secret) - 8))
    part = secret[begin : data.draw(st.integers(begin + 8, len(secret)))]
    echoed = "".join(data.draw(st.sampled_from(each(character))) for character in part)
    before, after = data.draw(st.tuples(*2 * [st.text("ab \\/%&#;u0{}\"'é", max_size=5)]))
    redactor = Redactor(prefix + secret)
    for text in (before + echoed + after, repr(before + echoed), json.dumps(echoed) + after, prefix + echoed):
        content = text.encode()
        assert not shows(redactor.text(text), secret)
        assert not shows(redactor.content(content).decode(), secret)


@given(
    key=st.text("QWERTZUIOP-_/+", min_size=8), text=st.text("sk-abcux01 \\/%&#;{}\"'é\ud83d", max_size=300)
)
def test_text_without_the_key_stays_the_same_object(key: str, text: str) -> None:
    redactor = Redactor("sk-" + key)
    assert shows(text, key) or redactor.text(text) is text


@pytest.mark.parametrize("key", KEYS)
def test_the_key_is_replaced_with_its_prefix_and_json_stays_valid(key: str) -> None:
    redactor = Redactor(key)
    assert redactor.text(f"key: {key}, again {key}") == "key: ***, again ***"
    escaped = "".join(f"\\u{ord(character):04x}" for character in key)
    for body in (
        json.dumps({"a": f"x {key} y"}),
        f'{{"a": "x {escaped} y"}}',
        f'{{"a": "\\\\n{key[4:]}\\n"}}',
    ):
        cleaned = redactor.content(body.encode())
        assert b"***" in cleaned
        assert list(json.loads(cleaned)) == ["a"]


@pytest.mark.parametrize("key", [None, "", "a", "ollama", "EMPTY", "sk-abc1"])
def test_a_key_of_fewer_than_eight_characters_is_kept(key: str | None) -> None:
    redactor = Redactor(key)
    text = f"{key or ''}: model 'a' of ollama not found, EMPTY, sk-abc1"
    assert redactor.is_noop
    assert redactor.text(text) is text


def test_the_public_prefix_does_not_count() -> None:
    redactor = Redactor("sk-proj-QWERTZUIOP")
    for harmless in ("keys begin with sk-proj-", "sk-proj-QWERTZU", "sk-proj-***TZUIOP", "Qwertzui"):
        assert redactor.text(harmless) == harmless
    assert redactor.text("you sent sk-proj-QWERTZUI***") == "you sent ******"
    assert Redactor("sk-local").text("sk-local: sk-locals, sk-loca") == "***: ***s, sk-loca"


@pytest.mark.parametrize("flood", ["\\", "%25", "&amp;", "&#0", "\\u005", "Q", "%", "\\x"])
def test_many_escapes_take_linear_time(flood: str) -> None:
    # Quadratic time would take minutes.
    content = Redactor("sk-QWERTZUIOPQQQQQQQQQ-").content((flood * 100_000 + ":QWERTZUI").encode())
    assert content.endswith(b":***")
