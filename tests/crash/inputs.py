"""Inputs in the formats of `headrace run`; each item has a distinct prompt."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet

MODEL = "deepseek-v3.2"
WORDS = "Schlauch Lampe Kessel Hose Säge Größe Tasse Kabel Regal Pumpe Jacke Sieb".split()
SCHEMA = {
    "type": "object",
    "properties": {"note": {"type": "string"}, "kind": {"enum": ["Garten", "Haushalt", "Kleidung"]}},
    "required": ["note", "kind"],
    "additionalProperties": False,
}


class Form(NamedTuple):
    """The options of a run: the format of its input, its processes, and whether it has a schema or steps."""

    kind: str
    processes: int = 1
    schema: bool = False
    steps: bool = False

    def __str__(self) -> str:
        more = f"{', schema' if self.schema else ''}{', steps' if self.steps else ''}"
        return f"{self.kind}, {self.processes} processes{more}"


FORMS = (
    Form("jsonl"),
    Form("batch", processes=2),
    Form("parquet"),
    Form("jsonl", processes=2, schema=True),
    Form("batch"),
    Form("parquet", processes=2),
)

STEP_FORMS = (Form("jsonl", steps=True), Form("parquet", processes=2, steps=True))

CATEGORIES = ("Garten", "Haushalt", "Kleidung")
JOB = """
input = "{name}"
model = "{model}"

[[step]]
name = "category"
prompt = "{{id}}: Kategorie von {{text}}"
choices = ["Garten", "Haushalt", "Kleidung"]

[[step]]
name = "advert"
when = "category == 'Garten'"
prompt = "{{id}}: Werbetext für {{text}}"

[[step]]
name = "verdict"
when = "advert != null"
prompt = "{{id}}: Urteil über {{advert}}"
schema = "schema.json"
"""


def write_input(
    folder: Path, form: Form, items: int, chance: random.Random
) -> tuple[list[str], dict[str, str]]:
    """Write an input; return the arguments of `headrace run` for it, and the prompt of each id."""
    mark = f"{chance.randrange(16**6):06x}"
    rows = [
        {"id": f"Q{mark}-{number:05}", "text": " ".join(chance.choices(WORDS, k=6))}
        for number in range(items)
    ]
    prompts = {row["id"]: f"{row['id']}: {row['text']}" for row in rows}
    if form.steps:
        prompts = {row["id"]: f"{row['id']}: Kategorie von {row['text']}" for row in rows}
    arguments = ["--prompt", "{id}: {text}", "--model", MODEL]
    if form.kind == "parquet":
        name = "in.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
    else:
        name = "in.jsonl"
        lines: Sequence[Mapping[str, Any]] = rows
        if form.kind == "batch":
            lines, arguments = [_batch_line(id, prompt) for id, prompt in prompts.items()], []
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    if form.steps:
        (folder / "job.toml").write_text(JOB.format(name=name, model=MODEL), encoding="utf-8")
        name, arguments = "job.toml", []
    if form.schema or form.steps:
        (folder / "schema.json").write_text(json.dumps(SCHEMA))
    if form.schema:
        arguments += ["--schema", "schema.json"]
    return [name, "--processes", str(form.processes), *arguments], prompts


def _batch_line(id: str, prompt: str) -> dict[str, Any]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}
    return {"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body}
