"""The embedded endpoint as a process that can be faulty, killed, and started again on its port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any, Self
from urllib.request import ProxyHandler, build_opener

_open = build_opener(ProxyHandler({})).open

SEED = 7
"""The seed of the endpoint, from which the expected answers are computed; see `tests.crash.checks`."""


class Served:
    """The embedded endpoint in a separate process, for the block; it also ends with this process."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        """Start it; a second time on the same port."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "headrace.testing.server", f"--port={self._port}", f"--seed={SEED}"),
                *("--until-stdin-closes", *self._options),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline().strip().removesuffix("/v1").rpartition(":")[2])

    def kill(self) -> None:
        """Kill it: all its connections are reset."""
        self._process.kill()
        self._process.communicate(timeout=30)

    def counts(self) -> dict[str, Any]:
        """The counts that the endpoint reports."""
        with _open(f"{self.url.removesuffix('/v1')}/headrace/counts", timeout=30) as answer:
            counts: dict[str, Any] = json.load(answer)
        return counts

    def answered(self) -> int:
        """How many attempts got a complete answer, even if the client was gone by then."""
        counts = self.counts()
        faults = counts["faults"]
        torn = sum(faults.get(kind, 0) for kind in ("reset", "stall", "truncate"))
        whole: int = counts["by_status"].get("200", 0) - torn
        return whole


def environment(url: str, **more: str) -> dict[str, str]:
    """This process's environment with the endpoint's URL, and without its own headrace settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HEADRACE_", "OPENAI_")) and not name.lower().endswith("_proxy")
    }
    return kept | {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-canary-7f3a"} | more
