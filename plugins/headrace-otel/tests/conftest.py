"""The fixture of the tests here."""

from telemetry import telemetry

__all__ = ["telemetry"]
