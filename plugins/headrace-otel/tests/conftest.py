"""A fixture of all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.plugins.telemetry import Telemetry


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """An SDK for one test, not the global one."""
    telemetry = Telemetry()
    yield telemetry
    telemetry.shutdown()
