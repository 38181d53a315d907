"""A run in words, its rate over time, and the totals of an output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import blocking
from headrace.bulk import RateHistory, RunSnapshot, Summary, failure_rows, read_status, status_rows
from headrace.bulk.item_result import ItemResult
from headrace.bulk.progress.notebook_widget import RunView
from headrace.bulk.summary import SampleCounts, StepCounts
from headrace.errors import InputError
from headrace.testing import Answer, FakeEndpoint
from headrace.transports.memory import MemoryTransport

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e\n" * 50


def status_of(text: str) -> dict[str, Any]:
    """The status of a run in which each foreign text is this one."""
    summary = Summary(
        1000, waiting=text, steps={text: StepCounts(done=3, failed=1)}, samples=SampleCounts(answers=5)
    )
    summary.add(ItemResult(0, answered=True, elapsed=0.5, finish_reason=text))
    summary.add(ItemResult(1, code=text or "timeout", message=text, status=500))
    summary.elapsed, summary.stopped_by = 2.0, text or None
    snapshot = RunSnapshot(
        0,
        state="waiting" if text else "running",
        engine=text,
        engine_status=text,
        in_flight=7,
        circuits={text: text},
        limits={text: text},
    )
    return summary.copy_to(snapshot).to_dict()


@given(st.text())
def test_foreign_texts_are_short_and_on_one_line(text: str) -> None:
    status = status_of(text * 100)
    for name, words in [*status_rows(status), *failure_rows(status)]:
        assert (name + words).isprintable()
        assert len(name) <= 80
        assert len(words) <= 200


def test_the_rows_say_what_is_known() -> None:
    rows = dict(status_rows(status_of("rate limited")))
    assert rows["Items"] == "2 of 1,000 done, 998 left"
    assert rows["Rate"] == "1.0/s on average"
    assert rows["Time"] == "2.00 s, about 16:38 left"
    assert rows["In flight"] == "7"
    assert rows["Latency"] == "p50 0.50 s, p95 0.50 s, p99 0.50 s"
    assert rows["Waiting"] == "rate limited"
    assert rows["Step rate limited"] == "3 done, 1 failed"
    assert rows["Stopped by"] == "rate limited"
    assert failure_rows(status_of("timeout")) == [("1 timeout 500", "timeout")]


def test_the_limits_of_what_is_shown_stand_beside_it() -> None:
    limits = {"budget": "5", "a-limit": 6000, "b-limit": None}
    status = {"in_flight": 9, "max_in_flight": 10, "cost": None, "limits": limits}
    rows = dict(status_rows(status))
    assert (rows["In flight"], rows["Cost"], rows["Limits"]) == (
        *("9 of 10", "not known of $5.00"),
        "budget=5 a-limit=6000 b-limit=none",
    )
    assert "Waiting" not in rows


def test_the_widget_of_a_notebook_is_html_without_script() -> None:
    html = RunView(status_of(HOSTILE) | {"state": HOSTILE}, RateHistory())._repr_html_()
    assert "<script" not in html
    assert "\u202e" not in html
    uncounted = RunView({"counted": False, "done": 3, "total": 9, "state": "running"}, RateHistory())
    assert '<progress aria-label="items done"></progress>' in uncounted._repr_html_()
    assert "Items: 3 of at least 9 done" in repr(uncounted).splitlines()


def test_the_rate_of_now_is_that_of_the_last_looks() -> None:
    history = RateHistory()
    assert (history.now, history.sparkline(10)) == (None, "")
    for second in range(20):
        history.add(second, 0 if second < 10 else (second - 9) * 30)
    history.add(19, 10_000)
    assert history.now == 30
    assert history.rates == [0.0] * 9 + [30.0] * 10
    assert history.sparkline(12) == "▁▁██████████"
    assert history.sparkline(0) == history.sparkline(-5) == ""


def test_the_status_of_an_output_has_its_totals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    endpoint = FakeEndpoint("a", 400, otherwise=Answer("b"))
    blocking.run(
        [{"id": f"{number}"} for number in range(5)],
        prompt="{id}",
        out=out,
        base_url="http://fake.test/v1",
        model="m",
        max_in_flight=1,
        transport=MemoryTransport(endpoint.handle),
    )
    monkeypatch.chdir(tmp_path)
    status = read_status("out.jsonl")
    assert status["out"] == str(out)
    assert (status["done"], status["succeeded"], status["failed"], status["state"]) == (5, 4, 1, "ended")
    assert dict(status_rows(status))["Items"] == "5 of at least 5 done"
    assert "In flight" not in dict(status_rows(status))
    with pytest.raises(InputError, match="No such file"):
        read_status(tmp_path / "other.jsonl")


def test_the_status_of_a_folder_counts_all_shards(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        read_status(tmp_path)
    result = {"id": "headrace-0", "custom_id": "a", "headrace": {"attempts": 1, "elapsed": 1.0}}
    error = {"code": "timeout", "message": "late"}
    (tmp_path / "shard-b.jsonl").touch()
    with pytest.raises(InputError, match="holds no finished item"):
        read_status(tmp_path)
    for name in "ac":
        line = json.dumps({**result, "response": None, "error": error})
        (tmp_path / f"shard-{name}.jsonl").write_text(f"{line}\n{line[:20]}")
    status = read_status(tmp_path)
    assert (status["done"], status["failed"], status["out"]) == (2, 2, str(tmp_path))
