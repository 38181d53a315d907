"""A pytest plugin with opt-in fixtures; load it with ``pytest -p headrace.testing.fixtures``."""

from __future__ import annotations

import pytest

from headrace.testing.fake import FakeEndpoint


@pytest.fixture
def fake_endpoint() -> FakeEndpoint:
    """A `FakeEndpoint` that answers "ok" until a test sets other steps."""
    return FakeEndpoint()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run tests marked ``anyio`` on asyncio and on trio."""
    backend: str = request.param
    return backend
