"""The types of bulk runs. Checked by mypy and pyright, not executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

from headrace import Client, Step
from headrace.bulk import Result, Source, Task, run


def text_of(row: dict[str, Any]) -> str:
    return str(row["name"])


def messages_of(row: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"role": "user", "content": str(row["name"])}]


async def prompts(client: Client) -> None:
    source = Path("in.csv")
    assert_type(await run(client, source, out="out.jsonl", prompt="{name}"), Result)
    await run(client, source, out="out.jsonl", prompt=Path("ask.j2"), system=Path("system.txt"))
    await run(client, source, out="out.jsonl", prompt=text_of, template="jinja", on_missing="fail-row")
    await run(client, source, out="out.jsonl", prompt=messages_of, tags={"a": "@b"}, priority="@c")
    await run(client, source, out="out.jsonl", messages="chat", examples=[{"name": "a", "answer": "b"}])
    await run(client, source, out="o.jsonl", prompt="?", image="a", file=["b", "c"], max_pixels=9)
    steps = [Step("a", "{name}", choices=["x", "y"]), Step("b", text_of, when="a == 'x'", answer=int)]
    assert_type((await run(client, source, out="out.jsonl", steps=steps)).steps["a"].skipped, int)
    await run(client, source, out="out.jsonl", prompt="{name}", choices=["x", "y"], samples=5, vote=True)
    await run(client, source, out="out.jsonl", prompt="{name}", only="filter:price > 10")
    Task(Source(source), "?", "m", image=("a", "b"), audio="c")
    Task(Source(source), text_of, "m", model_column="model", extra_body={"top_k": 5})
