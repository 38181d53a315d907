"""How long does a bulk run of a million rows take until its first request: fresh, and resumed?

    python benchmarks/first_request.py [--rows 1000000]

The input is CSV, and the endpoint is in memory. 99 % of the rows of a resumed run are done; it runs once with
the index of the output and once without. Each run has its own process, and its time includes no import.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import anyio

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.processes import run_measurement

from headrace import run
from headrace.testing import FakeEndpoint

RUN = """
import json, sys
from pathlib import Path
import anyio
from benchmarks.first_request import seconds_to_first_request
print(json.dumps({{"seconds": anyio.run(seconds_to_first_request, Path({folder!r}))}}))
"""
PROMPT = "Describe {name}"


async def seconds_to_first_request(folder: Path) -> float:
    """Begin or resume the run in a folder, and stop it after its first request."""
    endpoint, began = FakeEndpoint(), time.perf_counter()
    async with (
        endpoint.client(max_in_flight=10) as client,
        run(client, folder / "in.csv", prompt=PROMPT, out=folder / "out.jsonl") as session,
    ):
        while not endpoint.times:  # noqa: ASYNC110 - the endpoint has no event
            await anyio.sleep(0.001)
        seconds = time.perf_counter() - began
        session.stop()
        await session.wait()
    return seconds


async def finish(folder: Path, rows: int) -> None:
    """Run over the first rows."""
    async with FakeEndpoint().client(max_in_flight=100) as client:
        await run(client, folder / "in.csv", prompt=PROMPT, out=folder / "out.jsonl", limit=rows)


def measured(folder: Path) -> float:
    """The seconds until the first request, in another process."""
    return float(run_measurement("-c", RUN.format(folder=str(folder)))["seconds"])


def main() -> None:
    """Run the script as a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the input")
    rows: int = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "in.csv").open("w") as file:
            file.write("id,name\n")
            file.writelines(f"P{number},Thing {number}\n" for number in range(rows))
        print(f"fresh                   {measured(folder):6.2f} s")
        anyio.run(finish, folder, rows * 99 // 100)
        without = Path(shutil.copytree(folder, folder / "without"))
        print(f"resumed                 {measured(folder):6.2f} s")
        (without / "out.jsonl.index").unlink(missing_ok=True)
        print(f"resumed, without index  {measured(without):6.2f} s")


if __name__ == "__main__":
    main()
