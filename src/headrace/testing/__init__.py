"""For tests of users and plugin authors: an endpoint in memory, fixtures, and the contract of policies."""

from headrace.testing.contract import check_policy_contract
from headrace.testing.fake import Answer, FakeEndpoint

__all__ = ["Answer", "FakeEndpoint", "check_policy_contract"]
