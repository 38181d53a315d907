"""Tools for tests of applications and plugins: an endpoint in memory, fixtures, and the policy contract."""

from headrace.testing.contract import check_policy_contract
from headrace.testing.fake import Answer, FakeEndpoint

__all__ = ["Answer", "FakeEndpoint", "check_policy_contract"]
