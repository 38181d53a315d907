"""Descriptions of a scenario in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headrace._support.units import format_duration
from headrace.testing.simulation.distributions import Distribution, Exponential, Fixed, Lognormal, Uniform
from headrace.testing.simulation.rate_profile import RateProfile
from headrace.testing.simulation.run import VariantResult
from headrace.testing.simulation.scenario import ClosedLoad, OpenLoad, Scenario


def load(scenario: Scenario) -> str:
    """The load in words."""
    item = scenario.load
    if isinstance(item, OpenLoad):
        words = f"{_rates(item.rate)} calls per second, independent of the answers"
    elif isinstance(item, ClosedLoad):
        words = f"{item.customers:,} customers who think for {_spread(item.think)} between calls"
    else:
        words = f"a map of {item.items:,} items"
    if scenario.processes > 1:
        words += f", shared by {scenario.processes:,} processes"
    patience = "" if item.deadline is None else f"; given up after {format_duration(item.deadline)}"
    return f"{words}, for {format_duration(scenario.duration)}{patience}"


def endpoint(scenario: Scenario) -> str:
    """The endpoint in words."""
    item = scenario.endpoint
    parts = [f"serves {item.capacity:,} at once, {_spread(item.service)} each"]
    if item.queue is not None:
        parts.append(f"{item.queue:,} may wait")
    if item.queue_timeout is not None:
        parts.append(f"for at most {format_duration(item.queue_timeout)}")
    if item.round_trip:
        parts.append(f"{format_duration(item.round_trip)} network delay")
    for limit, what in ((item.requests_per_minute, "requests"), (item.tokens_per_minute, "tokens")):
        if limit is not None:
            parts.append(f"{limit:,} {what} per minute")
    return ", ".join(parts)


def windows(scenario: Scenario) -> Iterable[tuple[float, float, str]]:
    """Faults of the endpoint: start, end, and a description."""
    for outage in scenario.outages:
        yield outage.from_, outage.to, f"outage ({outage.kind})"
    for brown_out in scenario.brown_outs:
        parts = (("capacity", brown_out.capacity), ("speed", brown_out.speed))
        less = ", ".join(f"{name} × {factor:g}" for name, factor in parts if factor != 1)
        yield brown_out.from_, brown_out.to, f"brown-out ({less})"
    for errors in scenario.errors:
        yield errors.from_, errors.to, f"errors ({100 * errors.share:g}%: {', '.join(errors.kinds)})"
    if scenario.endpoint.key_revoked_at is not None:
        yield scenario.endpoint.key_revoked_at, scenario.duration, "key revoked"


def settings(run: VariantResult) -> str:
    """The policies and settings of a variant."""
    policies = ", ".join(run.policies) or "none"
    set_ = "; ".join(_flat(run.variant.settings))
    return f"policies {policies}{'; ' if set_ else ''}{set_}"


def _flat(table: Mapping[str, Any], before: str = "") -> Iterable[str]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif f"{before}{name}" != "policies":
            yield f"{before}{name} = {value}"


def _rates(profile: RateProfile) -> str:
    rates = [rate for _, rate in profile.points]
    low, high = min(rates), max(rates)
    return f"{high:,g}" if low == high else f"{low:,g} to {high:,g}"


def _spread(item: Distribution) -> str:
    match item:
        case Fixed():
            return format_duration(item.value)
        case Exponential():
            return f"{format_duration(item.mean)} on average (exponential)"
        case Lognormal():
            return f"{format_duration(item.mean)} on average (lognormal, p95 {format_duration(item.p95)})"
        case Uniform():
            return f"{format_duration(item.least)} to {format_duration(item.most)} (uniform)"
    raise AssertionError(item)
