"""A plugin to begin with: a distribution whose policy works and whose test passes, written into a folder."""

from headrace.cli.scaffold.distribution import write_distribution
from headrace.cli.scaffold.names import Names, names_of

__all__ = ["Names", "names_of", "write_distribution"]
