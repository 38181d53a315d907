"""Prompt templates in Jinja: loops, conditions and filters over the columns of a row.

A template runs in Jinja's sandbox, because its text may come from somebody else. It can read the row and call
filters, but it cannot reach other objects, change the row or read files.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import attrs

from headrace._support.text import nearest
from headrace.bulk.prompts.error_text import one_line, type_and_text
from headrace.bulk.template import PART_NAMES, Part, as_text
from headrace.errors import InputError

_ROW = "row"
"""The name of the row itself in a template, for columns whose names are not identifiers."""

_OPTIONAL_TESTS = ("defined", "undefined")
_OPTIONAL_FILTERS = ("default", "d")


@attrs.frozen
class JinjaTemplate:
    """A prompt in Jinja.

    Values are printed as in a `Template`: null as nothing, other values but strings as JSON.

    Args:
        text: The template. Its names are the columns; ``row["a name"]`` reads any column.
        part: What it makes, "prompt" or "system".
        file: The file that the text is from, for messages; None for none.

    Raises:
        InputError: Jinja is not installed, or the text is not a valid template.
    """

    text: str
    part: Part = "prompt"
    file: str | None = None
    columns: tuple[str, ...] = attrs.field(init=False, repr=False, eq=False)
    _required: tuple[str, ...] = attrs.field(init=False, repr=False, eq=False)
    _template: Any = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        try:
            import jinja2.meta
            import jinja2.nodes
        except ImportError:
            raise InputError(
                f"{self.file or f'{self.part}='}: is in Jinja; pip install 'headrace[jinja]' to use it"
            ) from None
        environment = _environment()
        try:
            tree = environment.parse(self.text)
            template = environment.from_string(tree)
        except jinja2.TemplateSyntaxError as error:
            raise self._mistake(error.lineno, one_line(error.message)) from None
        nodes = jinja2.nodes
        other = tree.find((nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport))
        if other is not None:
            raise self._mistake(
                other.lineno, "a template cannot load other templates; copy their text into it"
            )
        names = jinja2.meta.find_undeclared_variables(tree) - environment.globals.keys()
        object.__setattr__(self, "columns", tuple(sorted(names)))
        object.__setattr__(self, "_required", tuple(sorted(names - _optional_names(tree) - {_ROW})))
        object.__setattr__(self, "_template", template)

    def __reduce__(self) -> Any:
        return JinjaTemplate, (self.text, self.part, self.file)

    def _mistake(self, line: int, reason: str) -> InputError:
        place = f"{self.part}=, line {line}" if self.file is None else f"{self.file}:{line}"
        return InputError(f"{place}: {reason}")

    def check(self, row: Mapping[str, Any], where: str) -> None:
        """Raise `InputError` if the row lacks a column; the message begins with ``where``.

        A column that the template tests with ``is defined`` or gives a ``default`` may be missing.
        """
        for column in self._required:
            if column not in row:
                name = PART_NAMES[self.part]
                raise InputError(f"{where}: no column {column!r} for {name}; {nearest(column, row)}")

    def render(self, row: Mapping[str, Any]) -> str:
        """The prompt for one row; raises `InputError`, with the line of the template, if that fails."""
        try:
            text: str = self._template.render({_ROW: row, **row})
        except Exception as error:
            line = _line_of(error.__traceback__)
            place = self.file or PART_NAMES[self.part]
            raise InputError(f"{place}{f', line {line}' if line else ''}: {type_and_text(error)}") from error
        return text


def _environment() -> Any:
    from jinja2 import StrictUndefined, Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def printed(value: Any) -> Any:
        return value if isinstance(value, Undefined) else as_text(value)

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, finalize=printed, autoescape=False)


def _optional_names(tree: Any) -> set[str]:
    """The names that the template tests with ``is defined``, or for which it has a default."""
    from jinja2 import nodes

    tested = [each.node for each in tree.find_all(nodes.Test) if each.name in _OPTIONAL_TESTS]
    tested += [each.node for each in tree.find_all(nodes.Filter) if each.name in _OPTIONAL_FILTERS]
    return {node.name for node in tested if isinstance(node, nodes.Name)}


def _line_of(traceback: TracebackType | None) -> int | None:
    """The line of the template in which an error occurred; Jinja puts it into the traceback."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
