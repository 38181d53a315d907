"""The results in text and CSV."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from headrace.testing.simulation import SimulationResult, parse_scenario, simulate
from headrace.testing.simulation.tables import coarsen, notes, overview, share, timeline, write_csv

SCENARIO = """
title = "Short"
duration = 100
every = 1
stands_for = 10
model = "some"
policies = ["retry", "breaker", "cost"]
cost = { prices = { some = { input = 10, output = 10 } } }
breaker = { window = 5, open_for = 5 }

[load]
kind = "open"
rate = 100

[endpoint]
capacity = 100
service = "500ms"
queue = 10

[[outages]]
from = 20
to = 40

[variants.with]
[variants.without]
policies = []
"""


@pytest.fixture(scope="module")
def result() -> SimulationResult:
    return simulate(parse_scenario(SCENARIO, "s.toml"))


def test_timeline_has_few_rows_with_rates_of_the_real_system(result: SimulationResult) -> None:
    table = timeline(result, result.runs[0])
    assert len(table.rows) <= 30
    rows = [dict(zip(table.headings, row, strict=True)) for row in table.rows]
    assert rows[0]["time s"] == "0"
    assert float(rows[0]["offered/s"]) == pytest.approx(100, abs=40)
    assert float(rows[0]["busy"]) == pytest.approx(50, abs=20)
    assert {row["circuit"] for row in rows} >= {"open", "closed"}
    assert any("circuit_open" in row["failures"] for row in rows)
    assert "circuit" not in timeline(result, result.runs[1]).headings


def test_overview_has_one_row_per_variant(result: SimulationResult) -> None:
    table = overview(result)
    assert [row[0] for row in table.rows] == ["with", "without"]
    calls = {row[1] for row in table.rows}
    assert calls == {f"{result.runs[0].total.offered * 10:,}"}
    with_cost, without = (dict(zip(table.headings, row, strict=True)) for row in table.rows)
    assert with_cost["cost"].startswith("$")
    assert without["cost"] == "-"


def test_csv_has_all_values(result: SimulationResult) -> None:
    file = io.StringIO()
    write_csv(result, file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert {row["variant"] for row in rows} == {"with", "without"}
    for run in result.runs:
        own = [row for row in rows if row["variant"] == run.variant.name]
        assert len(own) == len(run.intervals) >= 100
        for name, total in (
            ("offered", run.total.offered),
            ("served", run.total.served),
            ("failed_connect_error", run.total.failures["connect_error"]),
            ("attempts", run.total.attempts),
            ("retries", run.total.retries),
        ):
            assert sum(int(row[name]) for row in own) == 10 * total
        for row in own:
            kinds = sum(int(value) for name, value in row.items() if name.startswith("failed_"))
            assert kinds == int(row["failed"])
        cost = sum(Decimal(row["cost"] or 0) for row in own)
        assert cost == 10 * (run.total.cost or 0)


def test_merged_intervals_keep_all_values(result: SimulationResult) -> None:
    run = result.runs[0]
    merged = coarsen(run.intervals, 7)
    assert len(merged) <= 7
    assert sum(each.served for each in merged) == run.total.served
    assert sum(each.latencies.count for each in merged) == run.total.latencies.count
    assert merged[0].start == 0
    assert merged[-1].end == run.intervals[-1].end
    for name in ("in_flight", "queue", "busy"):
        areas = sum(each.level(name) * each.seconds for each in merged)
        assert areas == pytest.approx(run.total.level(name) * run.total.seconds)
    assert sum(sum(each.circuit.values()) for each in merged) == pytest.approx(run.intervals[-1].end)


def test_notes_have_the_scale_and_littles_law(result: SimulationResult) -> None:
    lines = list(notes(result))
    assert lines[0].startswith("Each simulated call stands for 10")
    for run, line in zip(result.runs, lines[1:], strict=True):
        assert line.startswith(f"{run.variant.name}: {run.total.offered:,} calls simulated")


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 9, "0%"), (9, 9, "100%"), (1, 10**6, "0.01%"), (10**6, 10**6 + 1, "99.99%"), (0, 0, "-")],
)
def test_share_is_0_or_100_percent_only_if_exact(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text
