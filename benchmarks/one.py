"""One client against one URL, in a process of its own: prints what was measured as a line of JSON.

python benchmarks/one.py CONTESTANT --url http://127.0.0.1:PORT/v1 [--loop uvloop] [--calls N] [--in-flight N]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.clients import CLIENTS
from benchmarks.measuring import LOOPS, Job, Stopwatch, on_loop

Figures = dict[str, float]


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="benchmarks/one.py", description="Measure one client, once.")
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--url", required=True, help="base URL, ending in /v1")
    parser.add_argument("--loop", choices=(*LOOPS, "none"), default="asyncio")
    parser.add_argument("--calls", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--in-flight", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--cold", action="store_true", help="no call to warm up; making the client counts")
    parser.add_argument("--text", help="what each stream has to say")
    asked = parser.parse_args()
    allow_files()
    client, watch = CLIENTS[asked.client], Stopwatch()
    function = client.function()
    job = Job(asked.url, asked.calls, asked.in_flight, asked.cold, asked.text)
    if job.cold:
        watch.start()
    figures = function(job, watch) if client.blocking else on_its_loop(asked.loop, function, job, watch)
    print(json.dumps(figures or watch.figures()))


def on_its_loop(
    loop: str, function: Callable[[Job, Stopwatch], Awaitable[Figures | None]], job: Job, watch: Stopwatch
) -> Figures | None:
    """Run an async client; returns its own figures, where it has some."""
    figures: Figures | None = None

    async def run() -> None:
        nonlocal figures
        figures = await function(job, watch)

    on_loop(loop, run)
    return figures


def allow_files() -> None:
    """Raise the limit of open files as far as allowed; each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
