"""For tests of applications and plugins: a fake endpoint, an event recorder, fixtures, the contract."""

from headrace.testing.contract import check_policy_contract
from headrace.testing.event_recorder import EventRecorder
from headrace.testing.fake import Answer, FakeEndpoint

__all__ = ["Answer", "EventRecorder", "FakeEndpoint", "check_policy_contract"]
