"""The evaluation of measurements. An error here would be an error in the docs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import page, soak
from benchmarks.processes import MeasurementError, run_measurement
from benchmarks.question import Load, Runner, extrapolate
from benchmarks.rounds import Entry, Figures, Round, Target, measure_rounds, medians
from benchmarks.tables import result_tables

OURS, THEIRS = Entry("100 in flight", "ours", "trio"), Entry("100 in flight", "theirs", "trio")


def rounds_of(ours: list[float], theirs: list[float]) -> list[Round]:
    return [{OURS: {"per_s": a}, THEIRS: {"per_s": b}} for a, b in zip(ours, theirs, strict=True)]


def test_ratios_are_taken_within_rounds_and_the_median_counts() -> None:
    # The ratio of the two medians, 200 and 100, is 2, but no round has this ratio.
    verdict = Target("rate", "per_s", OURS, THEIRS, least=3).verdict(
        rounds_of([100, 200, 900], [100, 50, 300])
    )
    assert verdict is not None
    assert (verdict["median"], verdict["lowest"], verdict["highest"]) == (3.0, 1.0, 4.0)
    assert verdict["met"]


def test_narrowly_missed_target_is_not_met() -> None:
    rounds = rounds_of([299], [100])
    assert not (Target("rate", "per_s", OURS, THEIRS, least=3).verdict(rounds) or {})["met"]
    assert (Target("rate", "per_s", OURS, 299, most=1).verdict(rounds) or {})["met"]
    assert not (Target("rate", "per_s", OURS, 200, minus=True, most=98.9).verdict(rounds) or {})["met"]


def test_target_without_figures_has_no_verdict() -> None:
    assert Target("rate", "per_s", OURS, THEIRS, least=3).verdict([{OURS: {"per_s": 1.0}}]) is None


def test_failed_client_is_named_and_in_no_table() -> None:
    measured: list[Entry] = []

    def measure(entry: Entry) -> Figures:
        measured.append(entry)
        if entry is THEIRS and len(measured) > 2:
            raise MeasurementError("a wrong answer")
        return {"per_s": 1.0}

    rounds, failures = measure_rounds([OURS, THEIRS], measure, 3)
    assert failures == {THEIRS: "a wrong answer"}
    assert measured == [OURS, THEIRS, OURS, THEIRS, OURS]
    assert [row["name"] for row in medians(rounds)] == ["ours"]


def test_entry_measured_once_counts_for_all_rounds() -> None:
    measured: list[Entry] = []

    def measure(entry: Entry) -> Figures:
        measured.append(entry)
        return {"per_s": float(len(measured))}

    rounds, _ = measure_rounds([OURS, THEIRS], measure, 3, lambda entry: entry is THEIRS)
    assert measured.count(THEIRS) == 1
    assert [each[THEIRS]["per_s"] for each in rounds] == [2.0, 2.0, 2.0]


def test_time_is_extrapolated_from_the_rate() -> None:
    rounds: list[Round] = [{OURS: {"per_s": 20.0}}]
    extrapolate(rounds, 5_000)
    assert rounds[0][OURS]["whole_s"] == 250.0


def test_quick_load_has_at_most_its_calls_in_flight() -> None:
    quick = Load("many", 0, 1_000, 10_000, (Runner("openai", "asyncio", 5),)).shortened()
    assert quick.calls == quick.in_flight == 200
    assert quick.runners == [Runner("openai", "asyncio")]


def test_failed_process_gives_a_one_line_reason() -> None:
    grouped = "raise ExceptionGroup('several', [ValueError('this is not a valid answer')])"
    with pytest.raises(MeasurementError, match=r"^ValueError: this is not a valid answer$"):
        run_measurement("-c", grouped)
    with pytest.raises(MeasurementError, match="status 3"):
        run_measurement("-c", "raise SystemExit(3)")
    with pytest.raises(MeasurementError, match=r"not done after 0\.5 s"):
        run_measurement("-c", "import time; time.sleep(30)", limit=0.5)


def test_tables_show_missed_targets_and_failed_clients() -> None:
    row: dict[str, Any] = dict.fromkeys(("calls", "per_s", "cpu_us", "mean_ms", "p99_ms", "peak_mb"), 1.0)
    result: dict[str, Any] = {
        "question": "throughput",
        "targets": [Target("rate", "per_s", OURS, THEIRS, least=3).verdict(rounds_of([299], [100]))],
        "rows": [row | OURS._asdict()],
        "failures": [[*THEIRS, "not done after 40 s"]],
        "environment": dict.fromkeys(("date", "machine", "system", "python", "server", "packages"), "?"),
        "repeats": 1,
        "quick": True,
    }
    output = result_tables(result)
    assert "| ≥ 3 × | 2.99 × | 2.99 to 2.99 | **not met** |" in output
    assert "theirs, trio: did not finish: not done after 40 s" in output
    assert "A quick run with few calls: these figures are not results." in output


def samples_of(objects: list[float]) -> list[dict[str, float]]:
    """Samples at intervals of a second; only the number of objects changes."""
    flat = dict.fromkeys(
        "calls streams cancelled failed memory_mb held timers files tasks in_flight idle".split(), 0.0
    )
    return [flat | {"seconds": at, "calls": 100.0 * at, "objects": n} for at, n in enumerate(objects, 1)]


def test_growth_is_distinguished_from_fluctuation() -> None:
    leak = soak.figures_of(samples_of([50_000 + 100.0 * number for number in range(100)]))
    noise = soak.figures_of(samples_of([50_000 + 900.0 * (number % 3) for number in range(100)]))
    warm_up = soak.figures_of(samples_of([10_000.0] * 20 + [50_000.0] * 80))
    verdicts = [
        target for target in soak.targets() if target.figure == "objects" and target.ours.loop == "trio"
    ]
    for figures, flat in ((leak, False), (noise, True), (warm_up, True)):
        assert [(each.verdict([{each.ours: figures}]) or {})["met"] for each in verdicts] == [flat]
    assert 7_000 < leak["objects"] < 7_600  # 100 per second, in the three quarters after the warm-up
    assert leak["per_s"] == 100


def test_only_text_between_the_comments_is_replaced() -> None:
    text = "before <!-- tls --> old <!-- end of tls --> after"
    assert (
        page.replace_tables(text, "tls", "new") == "before <!-- tls -->\n\nnew\n\n<!-- end of tls --> after"
    )
    with pytest.raises(SystemExit, match="no comments for memory"):
        page.replace_tables(text, "memory", "new")
