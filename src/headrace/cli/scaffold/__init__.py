"""Writes a new plugin: a distribution with a working policy and a passing test."""

from headrace.cli.scaffold.distribution import write_distribution
from headrace.cli.scaffold.names import PluginNames, plugin_names

__all__ = ["PluginNames", "plugin_names", "write_distribution"]
