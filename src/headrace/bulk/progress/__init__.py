"""Shows a bulk run while it goes on: to a person at a terminal or in a notebook, and to programs."""

from headrace.bulk.progress.choice import Progress, display_for
from headrace.bulk.progress.client_events import ClientEvents
from headrace.bulk.progress.display import Display, shown
from headrace.bulk.progress.rate_history import RateHistory
from headrace.bulk.progress.status_rows import failure_rows, status_rows

__all__ = [
    "ClientEvents",
    "Display",
    "Progress",
    "RateHistory",
    "display_for",
    "failure_rows",
    "shown",
    "status_rows",
]
