"""A run on Ray, whose output is a folder of shards, is shown and steered as one run."""

from __future__ import annotations

from pathlib import Path

import pytest

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
