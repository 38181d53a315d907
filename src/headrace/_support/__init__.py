"""Internal helpers of all packages: clock, task groups, waiting queue, redaction, text, units, HTML."""
