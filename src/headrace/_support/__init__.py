"""What the other rooms share, and nobody outside: the clock, task groups, text, units, HTML."""
