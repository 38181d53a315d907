"""Prompts made by a function."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from headrace.bulk.prompts.prompt_function import PromptFunction
from headrace.errors import InputError

Row = Mapping[str, Any]


def named(row: Row) -> str:
    return f"About {row['name']}"


def greeting(row: Row, *, word: str) -> str:
    return f"{word} {row['name']}"


class Asker:
    def __call__(self, row: Row) -> str:
        return f"Ask {row['name']}"


MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}]


@pytest.mark.parametrize(
    ("function", "prompt"),
    [
        (named, "About hose"),
        (functools.partial(greeting, word="Greet"), "Greet hose"),
        (Asker(), "Ask hose"),
        (lambda row: MESSAGES, MESSAGES),
        (lambda row: tuple(MESSAGES), MESSAGES),
    ],
)
def test_a_function_returns_a_text_or_messages(function: Callable[..., Any], prompt: Any) -> None:
    assert PromptFunction(function).render({"name": "hose"}) == prompt


def test_a_function_cannot_change_the_row() -> None:
    row = {"name": "hose"}
    assert PromptFunction(lambda row: str(row.pop("name"))).render(row) == "hose"
    assert row == {"name": "hose"}


def fails(row: Row) -> str:
    raise LookupError("two\nlines")


def speechless(row: Row) -> str:
    raise MemoryError


KEY = repr("\x1b[2J" * 1000)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fails, "the prompt function raised LookupError: two lines"),
        (lambda row: row["\x1b[2J" * 1000], f"the prompt function raised KeyError: {KEY[:299]}…"),
        (speechless, "the prompt function raised MemoryError"),
        (lambda row: row["nmae"], "the prompt function raised KeyError: 'nmae'"),
        (
            lambda row: None,
            "the prompt function must return a string or a list of messages; it is of type NoneType",
        ),
        (lambda row: [], "the prompt function must return a string or a list of messages; it is empty"),
        (
            lambda row: ["Hi"],
            "the prompt function must return a string or a list of messages; "
            "message 1 is not an object with a role",
        ),
        (
            lambda row: [{"role": "user", "content": object()}],
            "the prompt function: messages[0].content is of type object, which cannot be written as JSON",
        ),
    ],
)
def test_its_errors_concern_one_row(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        PromptFunction(function).render({"name": "hose"})
    assert str(caught.value) == message


def test_an_async_function_is_an_error_at_once() -> None:
    async def later(row: Row) -> str:
        return ""

    with pytest.raises(InputError, match=r"^prompt=: .*later is async; pass a function without async$"):
        PromptFunction(later)  # type: ignore[arg-type]


PROGRAM = """
from headrace.bulk.prompts.prompt_function import PromptFunction
{}
print(PromptFunction(ask).text, end="")
"""
LAMBDA = "ask = lambda row: row['a'] if row['b'] in {'x', 'y', 'z'} else 'no'"


def text_of(code: str) -> str:
    """The text that identifies a function ``ask``."""
    module: dict[str, Any] = {"__name__": "__main__"}
    exec(code, module)  # noqa: S102
    return PromptFunction(module["ask"]).text


def test_the_text_of_a_lambda_depends_on_its_code_only() -> None:
    first = text_of(LAMBDA)
    assert first.startswith("__main__.<lambda> sha256:")
    moved = LAMBDA.replace("lambda row: ", "(  # a comment\n\n  lambda row: ") + ")"
    assert text_of(moved) == first
    for old, new in (("'a'", "'c'"), ("'y', ", ""), ("in", "not in"), ("row['b']", "row.b")):
        assert text_of(LAMBDA.replace(old, new)) != first


def test_the_text_is_the_same_in_another_process() -> None:
    program = PROGRAM.format(LAMBDA)  # with its own seed of hashes
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == text_of(LAMBDA), done.stderr


def test_the_text_names_the_function_and_covers_the_arguments_of_a_partial() -> None:
    assert PromptFunction(named).text.startswith(f"{__name__}.named sha256:")
    texts = [PromptFunction(functools.partial(greeting, word=word)).text for word in ("a", "a", "b")]
    assert texts[0] == texts[1] != texts[2]
    assert f"{__name__}.Asker.__call__ sha256:" in PromptFunction(Asker()).text
    assert PromptFunction(Asker().__call__).text == PromptFunction(Asker()).text
    assert PromptFunction(str).text.startswith("builtins.str sha256:")
    assert PromptFunction(repr).text.startswith("builtins.repr sha256:")
