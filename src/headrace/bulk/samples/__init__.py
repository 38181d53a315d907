"""Several answers for each row: the calls that bring them, and the vote on them."""

from headrace.bulk.samples.sample_calls import SampleCalls

__all__ = ["SampleCalls"]
