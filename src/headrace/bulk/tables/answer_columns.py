"""The answer of an output line as columns of a table."""

from __future__ import annotations

from typing import Any

from headrace.bulk.output_line import OutputLine


def answer_columns(line: OutputLine) -> dict[str, Any] | None:
    """The members of the answer by their columns; None for an answer that is no object.

    A job with steps has a column for each step. A typed answer of a step has one for each member, like
    ``verdict.score``.
    """
    if line.steps is None:
        answer = line.answer
        return answer if isinstance(answer, dict) else None
    found: dict[str, Any] = {}
    for column, answer in line.steps.items():
        if isinstance(answer, dict):
            found |= {f"{column}.{name}": value for name, value in answer.items()}
        else:
            found[column] = answer
    return found
