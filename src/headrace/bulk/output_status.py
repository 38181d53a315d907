"""The status of a run that is not alive, from its output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from headrace.bulk.summary_json import summary_values


def read_status(out: str | os.PathLike[str]) -> dict[str, Any]:
    """Count an output, and return its totals as the status of a run that has ended.

    Args:
        out: The output; if the output of the run was a table, the table; of a run on Ray, the folder.

    Returns:
        The status, for `status_rows`. It counts all sessions. How many items the input has is not known, so
        ``counted`` is False, and ``out`` is the absolute path of the lines.

    Raises:
        InputError: The file cannot be read, is empty, or is not the output of a run.
    """
    from headrace.bulk.report import read_statistics  # only who reads an output again needs it
    from headrace.bulk.tables import lines_of

    lines = lines_of(Path(out))
    statistics = read_statistics(lines)
    summary, view = statistics.summary, statistics.timeline.view()
    summary.total, summary.counted = statistics.items, False
    summary.elapsed = 0.0 if view is None else view.active / 1000
    return {
        **summary_values(summary),
        "state": "ended",
        "out": os.path.abspath(lines),
        "counted": False,
        "time_left": None,
        "in_flight": 0,
        "waiting": "",
    }
