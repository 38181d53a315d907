"""What works on a system without fcntl, resource, epoll and kqueue, as Windows is."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from headrace.testing.server import endpoint_process

HIDDEN = """
import selectors, sys
sys.modules.update(fcntl=None, resource=None)
selectors.DefaultSelector = selectors.SelectSelector
"""

CALLS = """
import anyio, headrace

async def main():
    async with headrace.Client(model="m", base_url=sys.argv[1]) as client:
        print((await client.chat("Hello")).status)
        async with client.map(["a", "b"]) as outcomes:
            print([outcome.ok async for outcome in outcomes])

anyio.run(main, backend=sys.argv[2])
"""

NATIVE = """
import anyio, headrace

async def main():
    async with headrace.Client(transport="native", base_url="http://127.0.0.1:9/v1"):
        pass

try:
    anyio.run(main)
except headrace.SettingsError as error:
    print(error)
"""


pytestmark = pytest.mark.anyio


async def run(code: str, *arguments: str) -> tuple[int, str, str]:
    """The exit code, the output, and what went to stderr."""
    done = await anyio.run_process([sys.executable, "-c", HIDDEN + code, *arguments], check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_calls_and_maps_work(anyio_backend: str) -> None:
    async with endpoint_process() as endpoint:
        done = await run(CALLS, endpoint.base_url, anyio_backend)

    assert done == (0, "200\n[True, True]\n", "")


async def test_the_native_transport_is_refused_in_one_line() -> None:
    _, output, _ = await run(NATIVE)

    assert output == (
        "transport='native': needs epoll or kqueue, which this system does not have; use 'httpx'\n"
    )


async def test_a_bulk_run_is_refused_in_one_line(tmp_path: Path) -> None:
    items, out = tmp_path / "items.csv", tmp_path / "out.jsonl"
    items.write_text("id\n1\n", encoding="utf-8")
    command = "from headrace_command import main; main()"
    arguments = ("run", str(items), "--out", str(out), "--model", "m", "--prompt", "{id}")

    code, _, complaint = await run(command, *arguments, "--base-url", "http://127.0.0.1:9/v1")

    assert code == 2
    assert "a bulk run locks its output with fcntl, which this system does not have" in complaint
    assert "Traceback" not in complaint
