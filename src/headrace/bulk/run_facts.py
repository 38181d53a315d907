"""What the sidecar of an output says about its run: the prompt, the model, the command."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from headrace._support.secret_masking import mask_keys, mask_secrets
from headrace.bulk.control.records import read_changes
from headrace.bulk.fingerprints import read_fingerprints

_NAMES = {
    "model": "Model",
    "prompt": "Prompt",
    "system": "System message",
    "choices": "Choices",
    "parameters": "Parameters",
    "answer": "Type of the answers",
    "samples": "Samples",
    "command": "Command",
}
_WITHOUT_CONTENT = ("model", "samples")
"""What is not made of prompts and answers."""

_OF_STEPS = {"when": "Condition", **{key: name for key, name in _NAMES.items() if key != "command"}}
_LONGEST = 5000


def read_run_facts(
    output: str | os.PathLike[str],
    items: Mapping[int, int] = MappingProxyType({}),
    *,
    content: bool = True,
) -> list[tuple[str, str]]:
    """Read what the sidecar of an output says about its run: the model, the prompt, the command and the like.

    If the run was continued with another prompt, model or other parameters, what differs is named once for
    each of these fingerprints, with its number. Changes that were made while it went on come last.

    Args:
        output: The output.
        items: How many items were made with each fingerprint, by its number.
        content: Whether texts that may have parts of prompts and answers are among them.

    Returns:
        Names and texts, without secrets; empty if the sidecar is missing or cannot be read.
    """
    fingerprints = read_fingerprints(output).values
    facts: list[tuple[str, str]] = []
    if len(fingerprints) > 1:
        facts += [
            (f"Items ({number})", f"{items.get(number, 0):,}") for number in range(1, len(fingerprints) + 1)
        ]
    for key, name in _names(fingerprints).items():
        if not content and key.rpartition(".")[2] not in _WITHOUT_CONTENT:
            continue
        texts = [_text(key.rpartition(".")[2], each[key]) if each.get(key) else "" for each in fingerprints]
        if len(set(texts)) > 1:
            facts += [(f"{name} ({number})", text or "none") for number, text in enumerate(texts, 1)]
        else:
            facts += [(name, text) for text in texts[:1] if text]
    if changes := read_changes(output):
        facts.append(
            ("Changes", _text("changes", "; ".join(f"{_time(each.time)} {each}" for each in changes)))
        )
    return facts


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def _names(fingerprints: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What is shown of fingerprints: their members, and the names of these."""
    names = dict(_NAMES)
    for step in dict.fromkeys(step for each in fingerprints for step in _steps(each)):
        names |= {f"{step}.{key}": f"{name} of step {step}" for key, name in _OF_STEPS.items()}
    return names


def _steps(fingerprint: Mapping[str, Any]) -> list[str]:
    """The names of the steps of a job."""
    steps = fingerprint.get("steps")
    return [name for name in steps if isinstance(name, str)] if isinstance(steps, list) else []


def _text(key: str, value: Any) -> str:
    if key == "choices" and isinstance(value, list):
        text = ", ".join(map(str, value))
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = mask_secrets(text) if key in ("command", "parameters") else mask_keys(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
