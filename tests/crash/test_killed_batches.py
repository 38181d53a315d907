"""A small part of the kills of `python -m tests.crash.batch_campaign`."""

from __future__ import annotations

import os
from pathlib import Path

from tests.crash.batch_campaign import BatchCampaign

KILLS = int(os.environ.get("TEST_KILLS", "2"))


def test_batches_of_a_run_killed_at_any_moment_are_made_once(tmp_path: Path) -> None:
    figures = BatchCampaign(tmp_path, kills=KILLS, seed=20261129, rows=80, parts=4).perform()
    assert figures.kills >= KILLS
    assert figures.rows == 80 * figures.runs
