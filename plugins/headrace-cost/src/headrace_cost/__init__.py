"""Cost accounting and budgets for headrace, in decimal."""

import headrace
from headrace_cost.policy import Cost
from headrace_cost.price_lookup import no_price_message
from headrace_cost.totals import Tally, Totals

__all__ = ["Cost", "Tally", "Totals"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The cost policy, with the settings of the section ``cost``.

    Raises `SettingsError` if the budget cannot be enforced: without this policy, or without a price.
    """
    cost = settings.section("cost", Cost)
    if cost.budget is not None:
        _check_budget(cost, settings)
    return [cost]


def _check_budget(cost: Cost, settings: headrace.Settings) -> None:
    core = settings.core
    if core.policies is not None and cost.name not in core.policies:
        raise headrace.SettingsError(
            f"cost: a budget of {cost.budget} USD is set, but 'cost' is not among "
            f"policies={list(core.policies)}; add it, or remove the budget"
        )
    model = core.model
    for endpoint in core.endpoints or (headrace.Endpoint(core.base_url),):
        if model is not None and endpoint.serves(model) and cost.estimate(model, 0, 0, endpoint) is None:
            raise headrace.SettingsError(
                f"cost: the budget cannot be enforced: {no_price_message(model, endpoint)}"
            )
