"""The laboratory: what policies do to a load and an endpoint, simulated in virtual time."""

from headrace.testing.simulation.distributions import Exponential, Fixed, Lognormal, Uniform
from headrace.testing.simulation.profile import Profile
from headrace.testing.simulation.reading import parse_scenario, read_scenario, with_settings
from headrace.testing.simulation.recording import Interval, Part
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
