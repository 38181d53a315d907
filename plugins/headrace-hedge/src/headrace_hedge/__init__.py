"""Hedged requests for headrace: a second request where the first is slow, and the quicker reply is used."""

import headrace
from headrace_hedge.policy import Hedge

__all__ = ["Hedge"]


@headrace.hookimpl
def headrace_policies(settings: headrace.Settings) -> list[headrace.Policy]:
    """The hedge policy, with the settings of the section ``hedge``; none where ``after`` is not set."""
    hedge = settings.section("hedge", Hedge)
    return [] if hedge.after is None else [hedge]
