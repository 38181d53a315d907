"""The measured clients: each module has functions that do a job and start and stop a stopwatch.

Other clients are used as in their own documentation, with as many connections as calls in flight if that can
be set. All send the same bodies. The text and the token counts of each answer are read and checked.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple


class ClientEntry(NamedTuple):
    """A client: the path of its function, the module that it needs, and its name in tables.

    ``blocking``: it has no event loop.
    """

    path: str
    needs: str
    title: str
    blocking: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether the client can be measured."""
        return importlib.util.find_spec(self.needs) is not None

    def function(self) -> Callable[..., Any]:
        """The function that does a job. Only this client is imported."""
        module, _, name = self.path.partition(":")
        function: Callable[..., Any] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return function


CLIENTS = {
    "headrace-journal": ClientEntry("headrace_bulk:run", "headrace", "headrace, journal on"),
    "headrace": ClientEntry("headrace_map:with_policies", "headrace", "headrace, map"),
    "headrace-http1": ClientEntry("headrace_map:over_http1", "headrace", "headrace, map, HTTP/1.1"),
    "headrace-bare": ClientEntry("headrace_map:without_policies", "headrace", "headrace, map, no policies"),
    "headrace-stream": ClientEntry("headrace_stream:run", "headrace", "headrace, stream"),
    "aiohttp": ClientEntry("aiohttp_recipe:calls", "aiohttp", "aiohttp recipe"),
    "aiohttp-stream": ClientEntry("aiohttp_recipe:streams", "aiohttp", "aiohttp recipe"),
    "httpx": ClientEntry("httpx_client:over_http1", "httpx", "httpx"),
    "httpx-h2": ClientEntry("httpx_client:over_http2", "h2", "httpx, HTTP/2"),
    "openai": ClientEntry("openai_sdk:calls", "openai", "openai"),
    "openai-stream": ClientEntry("openai_sdk:streams", "openai", "openai"),
    "openai-aiohttp": ClientEntry("openai_sdk:calls_over_aiohttp", "httpx_aiohttp", "openai over aiohttp"),
    "openai-headrace": ClientEntry("openai_sdk:calls_over_headrace", "openai", "openai over headrace"),
    "openai-aiohttp-stream": ClientEntry(
        "openai_sdk:streams_over_aiohttp", "httpx_aiohttp", "openai over aiohttp"
    ),
    "pyreqwest": ClientEntry("pyreqwest_client:run", "pyreqwest", "pyreqwest (Rust)"),
    "floor": ClientEntry("floor:run", "httptools", "floor: asyncio.Protocol"),
    "floor-h2": ClientEntry("floor_h2:run", "ngh2", "floor: Protocol, libnghttp2"),
    "floor-anyio": ClientEntry("floor_anyio:run", "httptools", "floor: anyio streams"),
    "sequential": ClientEntry("blocking:sequential", "httpx", "one after the other", blocking=True),
    "threads": ClientEntry("blocking:threads", "httpx", "threads", blocking=True),
}
