"""A small part of the kills of `python -m tests.crash`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.crash.campaign import Campaign
from tests.crash.checks import LostError, check_acknowledged, check_steps_acknowledged
from tests.crash.inputs import STEP_FORMS

KILLS = int(os.environ.get("TEST_KILLS", "6"))


def test_a_run_killed_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    figures = Campaign(tmp_path, kills=KILLS, seed=20261124, items=200, limit=120).perform()
    assert figures.kills.total() >= KILLS
    assert figures.items == 200 * figures.runs


def test_a_job_with_steps_killed_at_any_moment_pays_for_no_step_twice(tmp_path: Path) -> None:
    forms = STEP_FORMS[:1]
    figures = Campaign(tmp_path, kills=3, seed=20261129, items=100, forms=forms, limit=120).perform()
    assert figures.kills.total() >= 3
    assert figures.items == 100 * figures.runs


def test_the_checks_find_errors() -> None:
    first, second = b'{"custom_id":"a","error":null}\n', b'{"custom_id":"b","error":{"code":"timeout"}}\n'
    check_acknowledged(first, first + second, retried=False)
    check_acknowledged(second + first, first + second, retried=True)
    for before, now in (
        (first + second, first),  # gone
        (second + first, first + second),  # not where it was
        (b"", first + first),  # twice
        (b"", first[:-5] + b"\n" + second),  # torn, and not at the end
    ):
        with pytest.raises((LostError, ValueError)):
            check_acknowledged(before, now, retried=False)
    step = b'{"custom_id":"a","headrace":{"step":"text"}}\n'
    other = step.replace(b"text", b"verdict")
    check_steps_acknowledged(step, step + other)
    for before, now in ((step + other, step), (b"", step + step), (b"", step + other + step)):
        with pytest.raises(LostError):
            check_steps_acknowledged(before, now)
