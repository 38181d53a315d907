"""What the sidecar says about a run, for the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from headrace_view.sidecar import read_fingerprints

_NAMES = {
    "model": "Model",
    "prompt": "Prompt",
    "system": "System message",
    "choices": "Choices",
    "parameters": "Parameters",
    "answer": "Type of the answers",
    "samples": "Samples",
    "steps": "Steps",
    "command": "Command",
}
_WITHOUT_CONTENT = ("model", "samples")
"""What is not made of prompts and answers."""

_LONGEST = 5000


def run_facts(journal: Path, *, content: bool) -> list[tuple[str, str]]:
    """Names and texts; those of a run that was continued with another prompt or model are numbered.

    Args:
        journal: The output of the run.
        content: Whether prompts and answers are shown.
    """
    fingerprints = [value for _, value in read_fingerprints(journal)]
    facts = []
    for key, name in _NAMES.items():
        if content or key in _WITHOUT_CONTENT:
            texts = [_text(key, each.get(key)) for each in fingerprints]
            if len(set(texts)) > 1:
                facts += [(f"{name} ({number})", text or "none") for number, text in enumerate(texts, 1)]
            elif any(texts):
                facts.append((name, texts[0]))
    return facts


def _text(key: str, value: Any) -> str:
    if not value:
        return ""
    if key == "choices" and isinstance(value, list):
        text = ", ".join(map(str, value))
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
