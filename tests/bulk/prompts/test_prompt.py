"""What may be passed as a prompt or a system message: texts, files and functions."""

from __future__ import annotations

import builtins
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.bulk.prompts import make_prompt
from headrace.bulk.prompts.jinja_template import JinjaTemplate
from headrace.bulk.template import Part, Template
from headrace.errors import InputError


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"About {a}", "About {a}"),
        (b"About {a}\n", "About {a}"),
        (b"About {a}\r\n", "About {a}"),
        (b"About {a}\n\n", "About {a}\n"),
        (b"\xef\xbb\xbfAbout {a}\n", "About {a}"),
        ("Über {a}\r\nund {b}\n".encode(), "Über {a}\r\nund {b}"),
    ],
)
def test_a_file_is_read_without_mark_and_last_line_feed(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "prompt.txt"
    path.write_bytes(content)
    assert make_prompt(path, "prompt", None) == Template(text, "prompt", str(path))


@pytest.mark.parametrize(
    ("name", "language", "kind"),
    [
        ("p.txt", None, Template),
        ("p.j2", None, JinjaTemplate),
        ("p.txt", "jinja", JinjaTemplate),
        ("p.j2", "braces", Template),
    ],
)
def test_the_language_follows_the_name_unless_it_is_set(
    tmp_path: Path, name: str, language: Any, kind: type
) -> None:
    path = tmp_path / name
    path.write_text("About {{a}}" if kind is Template else "About {{ a }}")
    assert type(make_prompt(path, "prompt", language)) is kind
    assert type(make_prompt("About {{ a }}", "system", "jinja")) is JinjaTemplate


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "{path}: No such file or directory"),
        (b"", "{path}: is empty; write what to ask about a row"),
        (b"\n", "{path}: is empty; write what to ask about a row"),
        (b"caf\xe9", "{path}: not UTF-8 (unexpected end of data); save the file as UTF-8"),
        (b"{a.b!r}", "{path}: '{a.b!r}' must hold only the name of a column; write {{{{ for a brace"),
    ],
)
def test_a_bad_file_is_an_error_with_its_name(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "prompt.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        make_prompt(path, "prompt", None)
    assert str(caught.value) == message.replace("{path}", str(path)).replace("{{{{", "{{")


@pytest.mark.parametrize(
    ("value", "part", "message"),
    [
        ("", "prompt", "prompt=: is empty; write what to ask about a row"),
        (" \n", "prompt", "prompt=: is empty; write what to ask about a row"),
        ("", "system", "system=: is empty; leave it out, or write some text"),
        (
            "@prompt.txt",
            "prompt",
            "prompt='@prompt.txt' is text, not the name of a file; to read the file, "
            "pass a Path as the prompt",
        ),
        (
            "@s.j2",
            "system",
            "system='@s.j2' is text, not the name of a file; to read the file, "
            "pass a Path as the system message",
        ),
        (5, "prompt", "prompt=: must be a string, a Path or a function, not int"),
        (len, "system", "system=: must be a string or a Path, not builtin_function_or_method"),
        ("{a!r}", "system", "system=: '{a!r}' must hold only the name of a column; write {{ for a brace"),
    ],
)
def test_other_values_are_errors(value: Any, part: Part, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_prompt(value, part, None)
    assert str(caught.value) == message


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(InputError, match=r"^template='mustache': must be 'braces' or 'jinja'$"):
        make_prompt("a", "prompt", "mustache")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["@{user} wrote", "@channel please sort {name}", "mail me@x.org about {a}"])
def test_an_at_sign_in_a_prompt_is_text(text: str) -> None:
    assert make_prompt(text, "prompt", None) == Template(text)


@settings(deadline=None)  # the first template imports Jinja
@given(st.text().filter(lambda text: text.strip() and not text.startswith("@")), st.booleans())
def test_any_text_is_a_prompt_or_an_input_error(text: str, jinja: bool) -> None:
    """No text is an error of another kind, and a prompt is the same after it was sent to another process."""
    prompt, reason = None, ""
    try:
        prompt = make_prompt(text, "prompt", "jinja" if jinja else "braces")
    except InputError as error:
        reason = str(error)
    assert (prompt is None) == bool(re.match(r"prompt=[:,]", reason))
    assert pickle.loads(pickle.dumps(prompt)) == prompt


def test_without_jinja_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without_jinja(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.partition(".")[0] == "jinja2":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_jinja)
    with pytest.raises(
        InputError, match=r"^prompt=: is in Jinja; pip install 'headrace\[jinja\]' to use it$"
    ):
        make_prompt("{{ a }}", "prompt", "jinja")
