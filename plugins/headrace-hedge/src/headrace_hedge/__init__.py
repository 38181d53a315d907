"""Hedged requests for headrace: a slow request is sent again, and the reply that comes first is used."""

import headrace
from headrace_hedge.policy import Hedge

__all__ = ["Hedge"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The hedge policy, with the settings of the section ``hedge``; none if ``after`` is not set."""
    hedge = settings.section("hedge", Hedge)
    return [] if hedge.after is None else [hedge]
