"""How soon does `headrace view` show a journal of a million rows, and what does it cost a run beside it?

    python benchmarks/view.py [--rows 1000000] [--repeats 3]

The page is opened in Debian's Chromium, by playwright. Runs are measured in pairs, alone and with the page
open beside them: once with an endpoint that takes 300 ms, and once with one that answers at once. Then the
run, the server, the page and the browser together need more than two processors. Opening a page takes a
browser about a second of computing time, whatever is on it; so the rate is also given without the first
seconds.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

# A script has only its own folder on the path, but the imports below need the parent folder.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.processes import clean_environment
from benchmarks.rows_memory import write_csv
from benchmarks.server import Server, run_server
from playwright.sync_api import Browser, sync_playwright

HEADRACE = (sys.executable, "-c", "from headrace_command import main; main()")
BROWSER = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LONGEST_MS = 600_000
OPENING = 5.0
"""Seconds in which the page is opened, and its first charts are drawn."""
SEARCHES = {
    "a rare word": "search=w1ab",
    "the beginning of words": "search=w1a",
    "a word of a third of the rows": "search=common",
    "the same, slowest first": "search=common&order=latency&descending=1",
    "two words": "search=common w3",
    "failed": "outcome=failed",
    "failed, with a word": "outcome=failed&search=common",
    "an answer": "answer=Garten",
}


class Load(NamedTuple):
    """A run: the latency of its endpoint, its calls in flight, and its rows."""

    title: str
    latency_ms: int
    in_flight: int
    rows: int


LOADS = (Load("300 ms, 100 in flight", 300, 100, 10_000), Load("at once, 100 in flight", 0, 100, 200_000))


def write_journal(path: Path, rows: int) -> None:
    """Write the output of a run: answers of a dozen words, one of them in a third of the rows; 2 % failed."""
    chosen, encode = random.Random(1), msgspec.json.Encoder().encode
    words = [f"w{number:x}" for number in range(20_000)]
    usage = {"prompt_tokens": 148, "completion_tokens": 29, "total_tokens": 177}
    with path.open("wb") as file:
        for number in range(rows):
            text = " ".join(words[int(chosen.paretovariate(0.5)) % len(words)] for _ in range(12))
            text = chosen.choice([text, f"common {text}", "Garten"])
            failed = chosen.random() < 0.02
            message = {"role": "assistant", "content": text}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            body = {"model": "m", "choices": choices, "usage": usage}
            error = {"code": "timeout", "message": "no answer within 600 s"}
            line = {
                "id": f"headrace-{number}",
                "custom_id": f"P{number}",
                "response": None if failed else {"status_code": 200, "request_id": "", "body": body},
                "error": error if failed else None,
                "headrace": {
                    "index": number,
                    "digest": number,
                    "attempts": 1,
                    "elapsed": round(chosen.lognormvariate(0, 1), 6),
                    "cost": f"{chosen.random() / 1000:.6f}",
                    "completed_at": 1_767_225_600.0 + number / 100,
                },
            }
            file.write(encode(line) + b"\n")


@contextmanager
def viewing(out: Path) -> Iterator[str]:
    """The URL of the page about an output."""
    command = [*HEADRACE, "view", str(out), "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as view:
        assert view.stdout
        try:
            yield view.stdout.readline().strip()
        finally:
            view.kill()


def time_first_paint(browser: Browser, out: Path) -> None:
    """Open the page, in seconds since the start of the command."""
    window, began = browser.new_page(), time.perf_counter()
    with viewing(out) as url:
        began_ms = time.time() * 1000
        shown = time.perf_counter() - began
        window.goto(url)
        window.wait_for_selector("#rows tbody tr")
        rows = time.perf_counter() - began
        window.wait_for_selector("#charts svg")
        charts = time.perf_counter() - began
        paint = window.evaluate(
            "performance.timeOrigin + performance.getEntriesByName('first-contentful-paint')[0].startTime"
        )
        print(
            f"URL {shown:.2f} s, first paint {shown + (paint - began_ms) / 1000:.2f} s, rows {rows:.2f} s, "
            f"charts {charts:.2f} s",
            flush=True,
        )
    window.close()


def time_searches(browser: Browser, out: Path) -> None:
    """Make the whole index, then search it over HTTP, in the browser."""
    window, began = browser.new_page(), time.perf_counter()
    with viewing(out) as url:
        window.goto(url)
        window.wait_for_selector("#indexing", state="visible")
        window.wait_for_selector("#indexing", state="hidden", timeout=LONGEST_MS)
        print(f"whole index {time.perf_counter() - began:.1f} s", flush=True)
        for what, query in SEARCHES.items():
            times = window.evaluate(
                """async query => { const times = []; for (let round = 0; round < 7; round++) {
                    const began = performance.now();
                    await (await fetch(`api/runs/0/rows?${query}`)).json();
                    times.push(performance.now() - began); } return times; }""",
                query,
            )
            print(f"{what:28} {statistics.median(times):4.0f} ms, at most {max(times):.0f} ms", flush=True)
    window.close()


class Rates(NamedTuple):
    """Of a run: rows per second of all of it, and bytes of output per second without the first seconds."""

    rows: float
    later: float


def time_run(load: Load, server: Server, folder: Path, browser: Browser | None) -> Rates:
    """The rates of a run, with the page open in a browser if there is one."""
    out = folder / "out.jsonl"
    for each in folder.iterdir():
        if each.name != "in.csv":
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    command = [
        *HEADRACE,
        "run",
        str(folder / "in.csv"),
        "--out",
        str(out),
        "--prompt",
        "{name}: {description}",
    ]
    options = ["--model", "m", "--base-url", server.base_url(load.latency_ms), "--quiet"]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, *options, "--max-in-flight", str(load.in_flight)],
        env=clean_environment() | {"OPENAI_API_KEY": "none"},
    ) as run:
        while not out.exists():
            time.sleep(0.01)
        if browser is None:
            written = measure_end(run, out)
        else:
            with viewing(out) as url:
                window = browser.new_page()
                window.goto(url)
                window.wait_for_selector("#charts svg")
                written = measure_end(run, out)  # without calls of playwright, which take time themselves
                window.close()
    assert run.returncode == 0
    return Rates(load.rows / (time.perf_counter() - began), written)


def measure_end(run: subprocess.Popen[bytes], out: Path) -> float:
    """The bytes per second that a run writes, from some seconds after now until its end."""
    time.sleep(OPENING)
    size, since = out.stat().st_size, time.perf_counter()
    run.wait()
    return (out.stat().st_size - size) / (time.perf_counter() - since)


def compare_runs(browser: Browser, repeats: int) -> None:
    """The rate of runs with the page open, divided by that of the same runs alone."""
    with run_server([load.latency_ms for load in LOADS]) as server:
        for load in LOADS:
            ratios, later = [], []
            for _ in range(repeats):
                with tempfile.TemporaryDirectory() as name:
                    write_csv(Path(name) / "in.csv", load.rows, 1)
                    alone = time_run(load, server, Path(name), None)
                    beside = time_run(load, server, Path(name), browser)
                ratios.append(beside.rows / alone.rows)
                later.append(beside.later / alone.later)
                print(
                    f"{load.title}: alone {alone.rows:.1f}/s, beside the page {beside.rows:.1f}/s", flush=True
                )
            print(
                f"{load.title}: {statistics.median(ratios):.3f} ×, once the page is open "
                f"{statistics.median(later):.3f} ×",
                flush=True,
            )


def main() -> None:
    """Run the script as a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the journal")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs")
    options = parser.parse_args()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER)
        compare_runs(browser, options.repeats)
        out = Path(name) / "out.jsonl"
        write_journal(out, options.rows)
        for _ in range(options.repeats):
            shutil.rmtree(out.with_name(f".{out.name}.view"), ignore_errors=True)
            time_first_paint(browser, out)
        time_searches(browser, out)
        time_first_paint(browser, out)


if __name__ == "__main__":
    main()
