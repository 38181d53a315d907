"""The answer of an output line as columns of a table."""

from __future__ import annotations

from typing import Any

from headrace.bulk.output_line import OutputLine


def answer_columns(line: OutputLine) -> dict[str, Any] | None:
    """The answer by its columns; None for an answer that is no object.

    A job with steps has a column for each step, and a run with samples one for each answer, after ``answer``
    and ``votes`` if there was a vote. A typed answer has one for each member, like ``verdict.score``.
    """
    notes, found = line.headrace, dict[str, Any]()
    if notes.steps is not None:
        columns = notes.steps
    elif notes.answers is not None:
        columns = {f"answer_{number}": answer for number, answer in enumerate(notes.answers, 1)}
        if notes.votes is not None:
            found = {"answer": notes.answer, "votes": notes.votes}
    else:
        answer = line.answer
        return answer if isinstance(answer, dict) else None
    for column, answer in columns.items():
        if isinstance(answer, dict):
            found |= {f"{column}.{name}": value for name, value in answer.items()}
        else:
            found[column] = answer
    return found
