"""Measures one client against one URL, in its own process, and prints the figures as one line of JSON.

python benchmarks/measure_client.py CLIENT --url http://127.0.0.1:PORT/v1 [--loop uvloop] [--calls N]
    [--in-flight N] [--cold]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.clients import CLIENTS
from benchmarks.measurement import LOOPS, Job, Stopwatch, run_on_loop

Figures = dict[str, float]


def main() -> None:
    """Run the script as a command."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/measure_client.py", description="Measure one client, once."
    )
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--url", required=True, help="base URL, ending in /v1")
    parser.add_argument("--loop", choices=(*LOOPS, "none"), default="asyncio")
    parser.add_argument("--calls", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--in-flight", type=int, default=100, help="(%(default)s)")
    parser.add_argument(
        "--cold", action="store_true", help="without a warm-up call; creating the client counts, too"
    )
    parser.add_argument("--text", help="the expected text of each stream")
    args = parser.parse_args()
    raise_file_limit()
    client, watch = CLIENTS[args.client], Stopwatch()
    function = client.function()
    job = Job(args.url, args.calls, args.in_flight, args.cold, args.text)
    if job.cold:
        watch.start()
    figures = function(job, watch) if client.blocking else run_client(args.loop, function, job, watch)
    print(json.dumps(figures or watch.figures()))


def run_client(
    loop: str, function: Callable[[Job, Stopwatch], Awaitable[Figures | None]], job: Job, watch: Stopwatch
) -> Figures | None:
    """Run an async client; return its own figures, if it has any."""
    figures: Figures | None = None

    async def run() -> None:
        nonlocal figures
        figures = await function(job, watch)

    run_on_loop(loop, run)
    return figures


def raise_file_limit() -> None:
    """Raise the limit of open files as far as allowed; each connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
