"""Shows a bulk run while it goes on: to a person at a terminal or in a notebook, and to programs."""

from headrace.bulk.progress.choice import Progress, display_for
from headrace.bulk.progress.display import Display, shown
from headrace.bulk.progress.run_state import ClientEvents, RunState

__all__ = ["ClientEvents", "Display", "Progress", "RunState", "display_for", "shown"]
