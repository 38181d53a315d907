"""`headrace simulate`: the command, and its page in a real browser."""

from __future__ import annotations

import csv
import itertools
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from tests.cli.browsing import CONTRASTS, assert_legible, opened

from headrace.testing.simulation.bundled import bundled_names

SCENARIO = """
title = "Short <b>& sharp</b>"
about = "An outage."
duration = 100
max_in_flight = 500

[load]
kind = "open"
rate = 20

[endpoint]
capacity = 20
service = { kind = "exponential", mean = "500ms" }
queue = 10
round_trip = 0.02

[[outages]]
from = 20
to = 40

[variants."a patient one".retry]
attempts = 5

[variants."a hasty one with a long name"]
policies = ["breaker"]
breaker = { window = 5, open_for = 5 }
"""


@pytest.fixture
def scenario(headrace: Any) -> Path:
    path: Path = headrace.folder / "scenario.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    return path


def test_simulate_is_repeatable_and_writes_its_files(headrace: Any, scenario: Path) -> None:
    first = headrace.run("simulate", "scenario.toml", "--csv", "rows.csv", "--out", "page.html")
    assert (first.code, first.err) == (0, "")
    lines = first.out.splitlines()
    assert lines[0] == "Short <b>& sharp</b>"
    assert lines[-2:] == ["Rows: rows.csv", "Page: page.html"]
    assert "a patient one" in lines
    assert not any(line.endswith(" ") for line in lines)
    rows = (headrace.folder / "rows.csv").read_bytes()
    assert len(list(csv.DictReader(rows.decode().splitlines()))) >= 120
    again = headrace.run("simulate", "scenario.toml", "--csv", "rows.csv", PYTHONHASHSEED="5")
    assert again.out.splitlines() == lines[:-1]
    assert (headrace.folder / "rows.csv").read_bytes() == rows


def test_the_page_is_legible_at_any_width_in_light_and_dark(
    headrace: Any, scenario: Path, browser: Browser
) -> None:
    assert headrace.run("simulate", "scenario.toml", "--out", "page.html").code == 0
    for width, scheme in itertools.product((360, 760, 1400), ("light", "dark")):
        window = opened(browser, headrace.folder / "page.html", width, scheme)
        assert_legible(window)
        assert min(window.evaluate(CONTRASTS)) >= 4.5
        window.context.close()


def test_the_page_shows_each_variant_and_the_events_of_the_endpoint(
    headrace: Any, scenario: Path, browser: Browser
) -> None:
    printed = headrace.run("simulate", "scenario.toml", "--out", "page.html").out
    window = opened(browser, headrace.folder / "page.html", 1400)
    assert window.get_by_role("heading", level=1).inner_text() == "Short <b>& sharp</b>"
    headings = window.get_by_role("heading", level=2).all_inner_texts()
    assert headings == [
        *("In all", "Calls: a patient one", "Calls: a hasty one with a long name"),
        *("Attempts", "Latency", "In flight", "Queue", "Busy", "How to read this"),
    ]
    assert "outage (refused)" in window.locator("header").inner_text()
    assert window.locator("rect.window").count() == 7, "one in each picture"
    assert window.locator("rect.open").count() > 0
    assert window.locator("rect.refused").count() > 0
    assert "retry.attempts = 5" in window.content()
    row = window.get_by_role("row", name="calls", exact=False).first.inner_text().split("\t")
    assert row[1] in printed
    window.context.close()


def test_an_empty_scenario_has_a_page(headrace: Any, browser: Browser) -> None:
    (headrace.folder / "quiet.toml").write_text(
        'duration = 5\npolicies = []\n[load]\nkind = "bulk"\nitems = 1\n'
        "[endpoint]\ncapacity = 1\nservice = 0\n",
        encoding="utf-8",
    )
    assert headrace.run("simulate", "quiet.toml", "--out", "page.html").code == 0
    window = opened(browser, headrace.folder / "page.html", 360)
    assert window.get_by_text("NaN").count() == 0
    window.context.close()


def test_own_settings_are_one_more_variant(headrace: Any, scenario: Path) -> None:
    (headrace.folder / "mine.toml").write_text("[retry]\nattempts = 1\n", encoding="utf-8")
    result = headrace.run("simulate", "scenario.toml", "--settings", "mine.toml")
    assert result.code == 0
    assert "mine.toml" in result.out.splitlines()


def test_the_bundled_scenarios_are_listed_and_shown(in_process: Any) -> None:
    listed = in_process.run("simulate", "--list").out.splitlines()
    assert [line.split()[0] for line in listed] == bundled_names()
    shown = in_process.run("simulate", "black-friday", "--show").out
    assert shown.startswith('title = "Black Friday')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["black-fryday"],
            "'black-fryday' is not a file and not a bundled scenario; did you mean 'black-friday'?",
        ),
        (["nowhere.toml"], "nowhere.toml: No such file or directory"),
        (["wrong.toml"], "wrong.toml: unknown key 'duratoin'; did you mean 'duration'?"),
        (["scenario.toml", "--settings", "wrong.toml"], "wrong.toml: unknown key 'duratoin'"),
        (["scenario.toml", "--out", "no/page.html"], "no/page.html: the folder does not exist"),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(
    in_process: Any, scenario: Path, arguments: list[str], message: str
) -> None:
    (in_process.folder / "wrong.toml").write_text("duratoin = 5\n", encoding="utf-8")
    result = in_process.run("simulate", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert message in result.err


def test_a_terminal_shows_progress_and_ctrl_c_ends_it(headrace: Any) -> None:
    terminal, end = os.openpty()
    with subprocess.Popen(
        [*headrace.command, "simulate", "black-friday"],
        cwd=headrace.folder,
        env=headrace.environment,
        stdout=subprocess.PIPE,
        stderr=end,
    ) as process:
        os.close(end)
        output = b""
        while b"retry alone 3%" not in output:
            output += os.read(terminal, 1000)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    output += os.read(terminal, 10_000)
    os.close(terminal)
    assert process.returncode == 130
    assert out == b""
    assert output.rstrip().endswith(b"Interrupted.")


def test_a_missing_scenario_is_a_mistake(in_process: Any) -> None:
    result = in_process.run("simulate")
    assert result.code == 2
    assert "missing argument 'SCENARIO'" in result.err
