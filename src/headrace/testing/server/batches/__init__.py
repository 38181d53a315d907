"""The Batch API of the embedded endpoint: uploaded files, and batches that execute the requests in them.

Theory of operation. No task works on a batch. Its schedule is a function of its age, and the work that is due
is done before the next request about files, batches or counts is answered. So a batch has the same states on
a virtual clock, and in every event loop.
"""

from headrace.testing.server.batches.api import BatchApi, is_batch_path
from headrace.testing.server.batches.counts import BatchCounts, RequestCounts

__all__ = ["BatchApi", "BatchCounts", "RequestCounts", "is_batch_path"]
