"""A step of a job, as the user describes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from headrace._support.public_names import fixup_module_metadata
from headrace._support.text import quoted
from headrace.bulk.prompts import PromptLike, TemplateLanguage
from headrace.bulk.prompts.examples import ExamplesLike
from headrace.bulk.prompts.media_columns import ColumnNames
from headrace.errors import InputError

_NAME = re.compile(r"[^\W\d][\w-]*")


def _check_name(instance: Step, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is None and attribute.name == "output":
        return
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InputError(
            f"step {quoted(instance.name)}: {attribute.name}= must be a word of letters, digits, - and _ "
            "that begins with a letter, like category"
        )


@attrs.frozen
class Step:
    """One step of a job: a call for each row, made after those of the steps before it.

    The answer of a step is a further column of the row, so the prompts and conditions of later steps can name
    it: ``{category}``, or ``{verdict.score}`` for a member of a typed answer. The answer of a step that was
    skipped is null, which a prompt shows as nothing.

    Args:
        name: Its name, a word.
        prompt: The prompt, as for `headrace.run`, which also explains the arguments that are not listed here.
        when: A condition over columns and earlier answers, like ``"category == 'garden'"``; rows for which it
            is false skip the step. None to perform the step for all rows. See the reference of expressions.
        output: The column of its answers; None for the name of the step.
        model: The model; None for that of the client.

    Raises:
        InputError: A name is not valid. Other mistakes are found when the run begins.

    Example:
        ```python
        steps = [
            headrace.Step("category", "Category of {name}?", choices=["garden", "clothes"]),
            headrace.Step("text", "Write an advert for {name}.", when="category == 'garden'"),
        ]
        result = await headrace.run(client, "products.csv", steps=steps, out="texts.jsonl")
        ```
    """

    name: str = attrs.field(validator=_check_name)
    prompt: PromptLike | None = None
    when: str | None = attrs.field(default=None, kw_only=True)
    output: str | None = attrs.field(default=None, validator=_check_name, kw_only=True)
    model: str | None = attrs.field(default=None, kw_only=True)
    choices: Iterable[str] | None = attrs.field(default=None, kw_only=True)
    answer: Any = attrs.field(default=None, kw_only=True)
    system: PromptLike | None = attrs.field(default=None, kw_only=True)
    parameters: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    template: TemplateLanguage | None = attrs.field(default=None, kw_only=True)
    messages: str | None = attrs.field(default=None, kw_only=True)
    examples: ExamplesLike | None = attrs.field(default=None, kw_only=True)
    model_column: str | None = attrs.field(default=None, kw_only=True)
    extra_body: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    image: ColumnNames | None = attrs.field(default=None, kw_only=True)
    file: ColumnNames | None = attrs.field(default=None, kw_only=True)
    audio: ColumnNames | None = attrs.field(default=None, kw_only=True)
    max_pixels: int | None = attrs.field(default=None, kw_only=True)

    @property
    def column(self) -> str:
        """The column of its answers."""
        return self.output or self.name

    def task_arguments(self) -> dict[str, Any]:
        """The arguments of the step's `Task` that were given, without the model."""
        names = {field.name for field in attrs.fields(Step)} - {"name", "when", "output", "model"}
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None or name == "prompt"}


fixup_module_metadata(["Step"], {**globals(), "__name__": "headrace"})
