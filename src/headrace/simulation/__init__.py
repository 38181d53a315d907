"""The laboratory: what policies do to a load and an endpoint, simulated in virtual time."""

from headrace.simulation.distributions import Exponential, Fixed, Lognormal, Uniform
from headrace.simulation.profile import Profile
from headrace.simulation.reading import parse_scenario, read_scenario, with_settings
from headrace.simulation.recording import Interval, Part
from headrace.simulation.run import Result, Run, simulate
from headrace.simulation.scenario import (
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
