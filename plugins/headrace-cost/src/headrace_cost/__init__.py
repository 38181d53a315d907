"""Cost accounting and budgets for headrace, in decimal."""

import headrace
from headrace_cost.policy import Cost
from headrace_cost.totals import Tally, Totals

__all__ = ["Cost", "Tally", "Totals"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The cost policy, with the settings of the section ``cost``."""
    return [settings.section("cost", Cost)]
