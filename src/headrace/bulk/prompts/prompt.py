"""Makes prompts and system messages of what the user passes: a text, a file or a function."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from headrace.bulk.prompts.jinja_template import JinjaTemplate
from headrace.bulk.prompts.prompt_function import PromptFunction
from headrace.bulk.template import PART_NAMES, Part, Template
from headrace.errors import InputError
from headrace.wire.request_bodies import Message

TemplateLanguage: TypeAlias = Literal["braces", "jinja"]
"""How a template names columns: ``{column}``, or Jinja."""

_LANGUAGES = ("braces", "jinja")


@runtime_checkable
class Prompt(Protocol):
    """Makes the text of a row, or its messages.

    ``text`` identifies the prompt when a run is resumed. ``columns`` are the names that it reads; it is empty
    if the result is the same for each row.
    """

    @property
    def text(self) -> str: ...
    @property
    def columns(self) -> Sequence[str]: ...
    def check(self, row: Mapping[str, Any], where: str, /) -> None: ...
    def render(self, row: Mapping[str, Any], /) -> str | list[Message]: ...


PromptLike: TypeAlias = str | os.PathLike[str] | Callable[[dict[str, Any]], str | Sequence[Message]] | Prompt
"""What may be passed as a prompt."""


def make_prompt(value: PromptLike | None, part: Part, language: TemplateLanguage | None) -> Prompt | None:
    """The prompt or system message; None for None.

    Args:
        value: A text, the path of a file with the text, or, for a prompt, a function.
        part: What it makes.
        language: How the text names columns; None for Jinja in files that end in ``.j2``, else braces.

    Raises:
        InputError: It is empty, cannot be read or is not a valid template.
    """
    if language is not None and language not in _LANGUAGES:
        raise InputError(f"template={language!r}: must be 'braces' or 'jinja'")
    if value is None:
        return None
    if isinstance(value, str):
        text, file = value, None
        if text.startswith("@") and len(text.split()) == 1 and "{" not in text:
            raise InputError(
                f"{part}={text[:80]!r} is text, not the name of a file; "
                f"to read the file, pass a Path as {PART_NAMES[part]}"
            )
    elif isinstance(value, os.PathLike):
        file = os.fspath(value)
        text = _read(file)
    elif isinstance(value, Prompt):
        return value
    elif part == "prompt":
        if not callable(value):
            raise InputError(f"prompt=: must be a string, a Path or a function, not {type(value).__name__}")
        return PromptFunction(value)
    else:
        raise InputError(f"{part}=: must be a string or a Path, not {type(value).__name__}")
    if not text.strip():
        hint = "write what to ask about a row" if part == "prompt" else "leave it out, or write some text"
        raise InputError(f"{file or f'{part}='}: is empty; {hint}")
    if language == "jinja" or (language is None and file is not None and file.endswith(".j2")):
        return JinjaTemplate(text, part, file)
    return Template(text, part, file)


def _read(file: str) -> str:
    """The text of a file, without a byte order mark and without the line feed at its end."""
    try:
        text = Path(file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")
