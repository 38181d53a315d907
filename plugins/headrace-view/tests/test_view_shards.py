"""A run on Ray, whose output is a folder of shards, is shown and steered as one run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.bulk import Source
from headrace_view.web import Change
from view_lines import make_line, write_output
from view_requests import get, opened, post
from view_runs import RayRun, write_shards


@pytest.fixture
def anyio_backend() -> str:
    """The server of the page runs on asyncio only."""
    return "asyncio"


@pytest.mark.anyio
async def test_the_shards_of_one_run_are_steered_together(tmp_path: Path) -> None:
    live, folder = RayRun(), write_shards(tmp_path / "answers")
    with opened(folder, live=live, control=True) as app:
        found = await get(app, "runs")
        assert found["whole"] == "answers"
        assert {run["name"] for run in found["runs"]} == {f"shard-{name}.jsonl" for name in "abc"}
        assert ["Prompt", "Sort {text}"] in await get(app, "runs/0/facts")
        assert await post(app, "all/control", {"type": "pause"}) == (200, '{"message":"did pause "}')
    assert live.changes == [Change("pause")]
    write_output(tmp_path / "other.jsonl", [make_line(1)])
    with opened(folder, tmp_path / "other.jsonl", live=live, control=True) as app:
        assert (await get(app, "runs"))["whole"] is None
        status, why = await post(app, "all/control", {"type": "pause"})
        assert (status, why) == (404, "the outputs are of several runs; choose one")


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["rows", "'rows/**/*.csv'", "{folder}/rows"])
async def test_the_prompts_of_a_run_over_several_files_are_shown(tmp_path: Path, given: str) -> None:
    (tmp_path / "rows" / "far").mkdir(parents=True)
    (tmp_path / "rows" / "notes.md").write_text("no rows\n", encoding="utf-8")
    files = {
        "one.csv": "name,price\nhose,1",
        "far/two.csv": "name,price\nhose,2",
        "three.csv": "id,name,price\nc,hose,3",
    }
    for name, text in files.items():
        (tmp_path / "rows" / name).write_text(f"{text}\n", encoding="utf-8")
    made_of_content = next(iter(Source(tmp_path / "rows" / "one.csv").items())).id
    folder = write_shards(tmp_path / "answers")
    record = {"headrace": 2, "prompt": "Sort {name} at {price}", "model": "m", "id_column": None}
    command = f"headrace run {given.format(folder=tmp_path)} --out answers --engine ray --actors 2"
    sidecar = json.dumps({**record, "command": command}) + "\n"
    (folder / "run.journal").write_text(sidecar, encoding="utf-8")
    ids = [f"one.csv:{made_of_content}", "c"]
    lines = [make_line(number, id, digest=0) for number, id in enumerate(ids)]
    write_output(folder / "shard-a.jsonl", lines)
    with opened(folder) as app:
        run = next(each["run"] for each in (await get(app, "runs"))["runs"] if "shard-a" in each["name"])
        shown = []
        for row in (await get(app, f"runs/{run}/rows"))["rows"]:
            prompt = await get(app, f"runs/{run}/rows/{row['row']}/prompt")
            assert prompt["note"] == ""
            shown.append(prompt["messages"][-1][1]["text"])
    assert sorted(shown) == ["Sort hose at 1", "Sort hose at 3"]
