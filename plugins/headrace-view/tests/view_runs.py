"""What the page shows in its browser tests: lines with hostile text, and a live run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace import HeadraceError
from headrace_view.web import Change
from view_lines import make_line, write_output

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "\u202egnp.exe\u202c\u200bzero\U000e0041",
    "line\u2028separator\u2029end",
    "null\x00byte\x1b[2J\x07",
    "../../../../etc/passwd",
    '"><style>*{display:none}</style>',
]
ROWS = 130
STATUS: dict[str, Any] = {
    "state": "running",
    "total": 500,
    "counted": True,
    "rate": 12.5,
    "time_left": 30.0,
    "in_flight": 7,
    "waiting": "",
    "circuits": {"http://endpoint": "5 of 10 calls failed"},
    "limits": {"max-in-flight": 100, "budget": None},
}


class LiveRun:
    """A live run whose changes are kept; one that is not a number is refused."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.paused = self.ended = False
        self.limits: dict[str, Any] = dict(STATUS["limits"])

    def status(self, out: Path) -> Mapping[str, Any] | None:
        if self.ended:
            return None
        return STATUS | {"state": "paused" if self.paused else "running", "limits": dict(self.limits)}

    def change(self, out: Path, change: Change) -> str:
        if change.type == "set":
            if not change.value.isdecimal():
                raise HeadraceError(f"{change.name}: must be a number")
            self.limits[change.name] = int(change.value)
        self.changes.append(change)
        self.paused = change.type == "pause"
        return f"did {change.type} {change.name}"


class RayRun(LiveRun):
    """A live run on Ray: only the folder has a control."""

    def status(self, out: Path) -> Mapping[str, Any] | None:
        return super().status(out) if out.is_dir() else None

    def change(self, out: Path, change: Change) -> str:
        assert out.is_dir()
        return super().change(out, change)


def write_shards(folder: Path) -> Path:
    """An output with three shards; nothing is done in one of them."""
    folder.mkdir()
    record = {"headrace": 2, "prompt": "Sort {text}", "model": "m"}
    (folder / "run.journal").write_text(json.dumps(record) + "\n")
    write_output(folder / "shard-a.jsonl", [make_line(n) for n in range(3)])
    write_output(folder / "shard-b.jsonl", [make_line(n, code="timeout") for n in range(3, 5)])
    write_output(folder / "shard-c.jsonl", [])
    return folder


def lines(answer: str = "Garten") -> list[dict[str, Any]]:
    """130 lines: each tenth failed, one is cut off, and ten are hostile."""
    made = [
        make_line(
            n,
            answer=answer if n % 2 else "Sport",
            code="timeout" if n % 10 == 9 else None,
            status=None if n % 10 == 9 else 200,
            elapsed=n / 10,
            cost=f"0.{n:04}",
            reason="length" if n == 33 else "stop",
        )
        for n in range(ROWS - len(HOSTILE))
    ]
    return made + [
        make_line(
            ROWS + n, f"{n} {text}", text, code="answer_error" if n % 2 else None, message=text, cost=None
        )
        for n, text in enumerate(HOSTILE)
    ]
