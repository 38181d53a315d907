"""Simulations of a load, an endpoint and policies, in virtual time."""

from headrace.testing.simulation.distributions import Exponential, Fixed, Lognormal, Uniform
from headrace.testing.simulation.metrics import Interval, ProcessMetrics
from headrace.testing.simulation.rate_profile import RateProfile
from headrace.testing.simulation.run import SimulationResult, VariantResult, simulate
from headrace.testing.simulation.scenario import (
    BrownOut,
    BulkLoad,
    ClosedLoad,
    EndpointModel,
    ErrorBurst,
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
    "ErrorBurst",
    "Exponential",
    "Fixed",
    "Interval",
    "Lognormal",
    "OpenLoad",
    "Outage",
    "ProcessMetrics",
    "RateProfile",
    "Scenario",
    "SimulationResult",
    "Uniform",
    "Variant",
    "VariantResult",
    "parse_scenario",
    "read_scenario",
    "simulate",
    "with_settings",
]
