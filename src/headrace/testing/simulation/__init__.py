"""Simulations in virtual time: what policies do with a load and an endpoint."""

from headrace.testing.simulation.distributions import Exponential, Fixed, Lognormal, Uniform
from headrace.testing.simulation.metrics import Interval, Part
from headrace.testing.simulation.rate_profile import Profile
from headrace.testing.simulation.run import Result, Run, simulate
from headrace.testing.simulation.scenario import (
    BrownOut,
    BulkLoad,
    ClosedLoad,
    EndpointModel,
    Errors,
    OpenLoad,
    Outage,
    Scenario,
    Variant,
)
from headrace.testing.simulation.scenario_files import parse_scenario, read_scenario, with_settings

__all__ = [
    "BrownOut",
    "BulkLoad",
    "ClosedLoad",
    "EndpointModel",
    "Errors",
    "Exponential",
    "Fixed",
    "Interval",
    "Lognormal",
    "OpenLoad",
    "Outage",
    "Part",
    "Profile",
    "Result",
    "Run",
    "Scenario",
    "Uniform",
    "Variant",
    "parse_scenario",
    "read_scenario",
    "simulate",
    "with_settings",
]
