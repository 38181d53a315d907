"""A scripted server, and clients of both HTTP libraries over headrace."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from tests.transports.conftest import open_files, serve

from headrace.integrations import httpx as for_httpx
from headrace.integrations import httpx2 as for_httpx2

__all__ = ["library", "open_files", "serve", "through"]


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    """The library."""
    module: ModuleType = request.param
    return module


@pytest.fixture
def through(library: ModuleType) -> Callable[..., Any]:
    """``through(**options)``: a client of the library over headrace, by default without policies."""
    module = for_httpx if library is httpx else for_httpx2

    def make(**options: Any) -> Any:
        return module.async_client(**({"policies": []} | options))

    return make
