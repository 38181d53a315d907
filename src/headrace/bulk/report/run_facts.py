"""What the sidecar of an output says about its run: the prompt, the model, the command."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from headrace._support.lenient_json import NOT_JSON
from headrace._support.secret_masking import mask_keys, mask_secrets
from headrace.bulk.output_path import sidecar_of

_NAMES = {
    "model": "Model",
    "prompt": "Prompt",
    "system": "System message",
    "choices": "Choices",
    "parameters": "Parameters",
    "answer": "Type of the answers",
    "command": "Command",
}
_OF_STEPS = {"when": "Condition", **{key: name for key, name in _NAMES.items() if key != "command"}}
_LONGEST = 5000
_MOST_BYTES = 1 << 24


def read_run_facts(output: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Names and texts from the sidecar, without secrets; empty if there is no sidecar that can be read."""
    facts: dict[str, Any] = {}
    try:
        with open(sidecar_of(output), "rb") as file:
            for line in file.read(_MOST_BYTES).splitlines():
                record = msgspec.json.decode(line)
                if isinstance(record, dict) and "headrace" in record:  # the last fingerprint counts
                    facts = record
    except (OSError, *NOT_JSON):
        return []
    found = [(name, _text(key, facts[key])) for key, name in _NAMES.items() if facts.get(key)]
    for step in _steps(facts):
        found += [
            (f"{name} of step {step}", _text(key, value))
            for key, name in _OF_STEPS.items()
            if (value := facts.get(f"{step}.{key}"))
        ]
    return found


def _steps(facts: dict[str, Any]) -> list[str]:
    """The names of the steps of a job."""
    steps = facts.get("steps")
    return [name for name in steps if isinstance(name, str)] if isinstance(steps, list) else []


def _text(key: str, value: Any) -> str:
    if key == "choices" and isinstance(value, list):
        text = ", ".join(map(str, value))
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = mask_secrets(text) if key in ("command", "parameters") else mask_keys(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
