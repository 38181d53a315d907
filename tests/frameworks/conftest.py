"""An endpoint in a separate process, for clients in any thread, event loop or process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.crash.serving import Served


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The URL of the endpoint."""
    with Served() as served:
        yield served.url
