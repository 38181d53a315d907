"""For tests of users and plugin authors: a fake endpoint, an observer, fixtures, the contract of policies."""

from headrace.testing.contract import check_policy_contract
from headrace.testing.event_recorder import EventRecorder
from headrace.testing.fake import Answer, FakeEndpoint

__all__ = ["Answer", "EventRecorder", "FakeEndpoint", "check_policy_contract"]
