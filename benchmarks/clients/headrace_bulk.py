"""headrace: a bulk run from file to file, with the standard policies and the journal."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
from benchmarks.clients.headrace_map import read_answer
from benchmarks.measurement import KEY, TIMEOUT_S, Answer, Job, Stopwatch, body
from benchmarks.policies import standard_policies

from headrace import Client
from headrace.bulk import run as bulk_run


async def run(job: Job, watch: Stopwatch) -> dict[str, float]:
    """Make the job's calls; writing the input before and checking the output after are not timed."""
    with tempfile.TemporaryDirectory(prefix="headrace-bulk-") as folder:
        input, output = Path(folder, "input.jsonl"), Path(folder, "output.jsonl")
        write_input(input, job.calls)
        if job.cold:
            watch.start()
        async with Client(
            base_url=job.base_url,
            api_key=KEY,
            max_in_flight=job.in_flight,
            timeout=TIMEOUT_S,
            policies=standard_policies(),
        ) as client:
            if not job.cold:
                read_answer(await client.request("POST", "/chat/completions", body(0))).check()
                watch.start()
            summary = await bulk_run(client, input, out=output)
            watch.stop()
        check_output(output, job.calls)
    return watch.totals(job.calls) | {
        "mean_ms": round(summary.latencies.mean * 1e3, 2),
        "p50_ms": round(summary.latencies.percentile(50) * 1e3, 2),
        "p99_ms": round(summary.latencies.percentile(99) * 1e3, 2),
    }


def write_input(path: Path, items: int) -> None:
    """Write OpenAI's batch format, with the bodies that all clients send."""
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for number in range(items):
            line: dict[str, Any] = {
                "custom_id": f"item-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body(number),
            }
            file.write(encode(line) + b"\n")


def check_output(path: Path, items: int) -> None:
    """Raise ValueError unless there is exactly one line with a valid answer for each item."""
    decode, seen = msgspec.json.Decoder().decode, bytearray(items)
    with path.open("rb") as file:
        for line in file:
            item = decode(line)
            Answer.of(item["response"]["body"]).check()
            seen[int(item["custom_id"].removeprefix("item-"))] += 1
    if seen.count(1) != items:
        raise ValueError(f"{items - seen.count(1)} items do not have exactly one line")
