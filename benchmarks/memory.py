"""Does memory grow with the input? 10,000, 100,000 and 1,000,000 items drawn from a generator.

    python benchmarks/memory.py [--loop uvloop] [--in-flight 100] [--items 10000,100000,1000000] [--json FILE]

Over real sockets, with all four policies on, each number of items in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

# A script has its own folder on the path, and not the one above, from which its neighbours are imported.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.circumstances import circumstances
from benchmarks.measuring import KEY, LOOPS, body, on_loop, peak_rss_mb
from benchmarks.processes import measured
from benchmarks.server import serving
from benchmarks.table import memory_table

LIMIT_MB = 20.0
"""How much more the most items may take than the fewest."""


async def draw(base_url: str, items: int, in_flight: int) -> None:
    """Make a call for each item, keep nothing, and print what it took as JSON."""
    from benchmarks.policies import all_four

    from headrace import Client

    tokens, began = 0, time.perf_counter()
    async with (
        Client(base_url=base_url, api_key=KEY, max_in_flight=in_flight, policies=all_four()) as client,
        client.map(body(number) for number in range(items)) as outcomes,
    ):
        async for outcome in outcomes:
            usage = outcome.unwrap().usage
            tokens += usage.total_tokens if usage else 0
    wall = time.perf_counter() - began
    figures = {
        "items": items,
        "tokens": tokens,
        "peak_mb": round(peak_rss_mb(), 1),
        "wall_s": round(wall, 1),
        "per_s": round(items / wall, 1),
    }
    print(json.dumps(figures))


def main() -> None:
    """Run as a command, and with --url as the process that makes the calls."""
    parser = argparse.ArgumentParser(prog="benchmarks/memory.py", description="Peak memory by items.")
    parser.add_argument("--items", default="10000,100000,1000000", help="(%(default)s)")
    parser.add_argument("--loop", choices=LOOPS, default="uvloop")
    parser.add_argument("--in-flight", type=int, default=100, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE")
    parser.add_argument("--url", help="measure in this process, against this base URL")
    asked = parser.parse_args()
    numbers = sorted(int(number) for number in asked.items.split(","))
    if asked.url:
        on_loop(asked.loop, draw, asked.url, numbers[0], asked.in_flight)
        return
    rows = []
    with serving([0]) as server:
        for number in numbers:
            load = ("--items", number, "--loop", asked.loop, "--in-flight", asked.in_flight)
            figures = measured("-m", "benchmarks.memory", "--url", server.base_urls[0], *load, limit=1800)
            print(f"{number:,} items: {figures['peak_mb']} MB in {figures['wall_s']} s", flush=True)
            rows.append(figures)
    result = {
        "circumstances": circumstances() | {"server": server.name},
        "limit_mb": LIMIT_MB,
        "loop": asked.loop,
        "in_flight": asked.in_flight,
        "rows": rows,
    }
    print(memory_table(result))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
