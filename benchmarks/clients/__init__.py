"""Who takes part: a module for each, with a function that does a job and a stopwatch that is started in it.

The peers are called as their own documentation shows it, with as many connections as there are calls in
flight where they let one say so. All send the same bodies, and of every answer the text and the token counts
are read and checked.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple


class ClientEntry(NamedTuple):
    """Where a client's function is, what has to be installed, and what it is called in tables.

    ``blocking``: it has no event loop.
    """

    place: str
    needs: str
    title: str
    blocking: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether it can take part."""
        return importlib.util.find_spec(self.needs) is not None

    def function(self) -> Callable[..., Any]:
        """What does the job; imports the client, and no other."""
        module, _, name = self.place.partition(":")
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
