"""A plugin to begin with: a distribution whose policy works and whose test passes, written into a folder."""

from headrace.cli.scaffold.distribution import write_distribution
from headrace.cli.scaffold.names import PluginNames, plugin_names

__all__ = ["PluginNames", "plugin_names", "write_distribution"]
