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


class Contestant(NamedTuple):
    """Where a contestant's function is, what has to be installed, and what it is called in tables.

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
        """What does the job; imports the contestant, and no other."""
        module, _, name = self.place.partition(":")
        function: Callable[..., Any] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return function


CONTESTANTS = {
    "headrace-journal": Contestant("headrace_bulk:run", "headrace", "headrace, journal on"),
    "headrace": Contestant("headrace_map:with_policies", "headrace", "headrace, map"),
    "headrace-http1": Contestant("headrace_map:over_http1", "headrace", "headrace, map, HTTP/1.1"),
    "headrace-bare": Contestant("headrace_map:without_policies", "headrace", "headrace, map, no policies"),
    "headrace-stream": Contestant("headrace_stream:run", "headrace", "headrace, stream"),
    "aiohttp": Contestant("aiohttp_recipe:calls", "aiohttp", "aiohttp recipe"),
    "aiohttp-stream": Contestant("aiohttp_recipe:streams", "aiohttp", "aiohttp recipe"),
    "httpx": Contestant("httpx_client:over_http1", "httpx", "httpx"),
    "httpx-h2": Contestant("httpx_client:over_http2", "h2", "httpx, HTTP/2"),
    "openai": Contestant("openai_sdk:calls", "openai", "openai"),
    "openai-stream": Contestant("openai_sdk:streams", "openai", "openai"),
    "openai-aiohttp": Contestant("openai_sdk:calls_over_aiohttp", "httpx_aiohttp", "openai over aiohttp"),
    "openai-headrace": Contestant("openai_sdk:calls_over_headrace", "openai", "openai over headrace"),
    "openai-aiohttp-stream": Contestant(
        "openai_sdk:streams_over_aiohttp", "httpx_aiohttp", "openai over aiohttp"
    ),
    "pyreqwest": Contestant("pyreqwest_client:run", "pyreqwest", "pyreqwest (Rust)"),
    "floor": Contestant("floor:run", "httptools", "floor: asyncio.Protocol"),
    "floor-h2": Contestant("floor_h2:run", "ngh2", "floor: Protocol, libnghttp2"),
    "floor-anyio": Contestant("floor_anyio:run", "httptools", "floor: anyio streams"),
    "sequential": Contestant("blocking:sequential", "httpx", "one after the other", blocking=True),
    "threads": Contestant("blocking:threads", "httpx", "threads", blocking=True),
}
