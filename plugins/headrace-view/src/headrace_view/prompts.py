"""Finds the row of the input that an output line was made from, and what was sent for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import msgspec

from headrace import HeadraceError
from headrace.bulk import Item, OutputLine, Source, Task
from headrace_view.sidecar import find_inputs, fingerprint_of

_OF_TASK = ("choices", "system", "messages", "model_column", "extra_body")
_NO_SIDECAR = "The prompt is not known: the sidecar of the run is missing beside the output."
_NO_INPUT = "The prompt is not known: the input of the run was not found. {}"
_CHANGED = "This row of the input has changed since it was sent."
_OF_PYTHON = "The run was begun from Python, and its rows are in no file that is known here."
_LOOKED_FOR = "Its command is: {}"


@attrs.frozen
class SentPrompt:
    """What was sent for a row, as far as it can be found.

    Attributes:
        note: What is not known, for a person; empty if all is.
        input: The file of the row; empty if it was not found.
        row: The values of the row by column; None if it was not found.
        messages: The messages that the run made of the row; None if they cannot be made again.
    """

    note: str = ""
    input: str = ""
    row: Mapping[str, Any] | None = None
    messages: Any = None


def find_prompt(output: Path, line: OutputLine) -> SentPrompt:
    """Find what was sent for the item of a line; it reads the input up to the row.

    Args:
        output: The output; that of a run with shards is their folder.
        line: The line.
    """
    fingerprint = fingerprint_of(output, line.index)
    if not fingerprint:
        return SentPrompt(_NO_SIDECAR)
    command = fingerprint.get("command")
    if not isinstance(command, str):
        return SentPrompt(_NO_INPUT.format(_OF_PYTHON))
    inputs = find_inputs(output, command)
    for path, prefix in sorted(inputs, key=lambda each: not line.custom_id.startswith(f"{each[1]}:")):
        found = _row_in(path, prefix, line, fingerprint)
        if found is not None:
            return found
    return SentPrompt(_NO_INPUT.format(_LOOKED_FOR.format(command)))


def _row_in(path: Path, prefix: str, line: OutputLine, fingerprint: Mapping[str, Any]) -> SentPrompt | None:
    ids = (line.custom_id, line.custom_id.removeprefix(f"{prefix}:"))  # only ids of content have it
    try:
        source = Source(path, fingerprint.get("id_column"))
        item = next((item for item in source.items() if item.id in ids), None)
    except (HeadraceError, OSError):
        return None
    return None if item is None else _sent(source, item, line, fingerprint)


def _sent(source: Source, item: Item, line: OutputLine, fingerprint: Mapping[str, Any]) -> SentPrompt:
    row = plain(item.row)
    if item.request is not None:
        return SentPrompt(input=source.name, messages=plain((item.request.body or {}).get("messages")))
    if fingerprint.get("steps") or not fingerprint.get("prompt"):
        return SentPrompt("A row with several prompts, or none, is shown without them.", source.name, row)
    given = {name: fingerprint[name] for name in _OF_TASK if fingerprint.get(name)}
    template = "jinja" if "prompt" in (fingerprint.get("jinja") or ()) else "braces"
    try:
        task = Task(source, fingerprint["prompt"], fingerprint.get("model"), template=template, **given)  # type: ignore[arg-type]
        body = task.request(item).body or {}
        is_changed = line.headrace.digest not in (0, task.digest(item))
    except (HeadraceError, TypeError, ValueError) as error:
        return SentPrompt(f"The prompt cannot be made again: {error}", source.name, row)
    notes = [_CHANGED] if is_changed else []
    left_out = [name for name in ("image", "file", "audio", "examples") if fingerprint.get(name)]
    if left_out:
        notes.append(f"Left out here: {', '.join(left_out)}.")
    return SentPrompt(" ".join(notes), source.name, row, plain(body.get("messages")))


def plain(value: Any) -> Any:
    """The value as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))
