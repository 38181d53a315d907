"""The job of a client, the answers that it reads, and the stopwatch that measures it."""

from __future__ import annotations

import array
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import anyio

MODEL = "deepseek-v3.2"
KEY = "sk-benchmark"
HEADERS = {"Authorization": f"Bearer {KEY}"}
TIMEOUT_S = 120.0
"""Timeout of a call in seconds, instead of each client's own default."""

LOOPS = ("asyncio", "uvloop", "trio")
PROMPT = (
    "Ordne das Produkt einer Kategorie zu: Elektronik, Haushalt, Kleidung, Garten. Name: Produkt {number}. "
    "Beschreibung: Ein Schlauch aus Gummi, 25 m lang, mit Kupplung und Spritze. Preis: 19.99 EUR."
)


class Job(NamedTuple):
    """The job of a client.

    ``cold``: the time before the first call counts, too. ``text`` is the expected text of streams; None:
    only the token counts are known.
    """

    base_url: str
    calls: int
    in_flight: int
    cold: bool = False
    text: str | None = None

    @property
    def url(self) -> str:
        """The URL of the chat completions."""
        return f"{self.base_url}/chat/completions"


def body(number: int) -> dict[str, Any]:
    """The body of a call, different for each."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT.format(number=number)}],
        "temperature": 0.3,
        "max_tokens": 100,
    }


class Answer(NamedTuple):
    """The parts of an answer that clients read."""

    text: str | None
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, decoded: Any) -> Answer:
        """The answer in decoded JSON."""
        text, usage = decoded["choices"][0]["message"]["content"], decoded["usage"]
        return cls(text, usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])

    def check(self) -> None:
        """Raise ValueError if there is no text or the token counts do not add up."""
        if not self.text or not self.total_tokens == self.prompt_tokens + self.completion_tokens > 0:
            raise ValueError(f"invalid answer: {self}")


class Stopwatch:
    """Measures wall clock and CPU time from `start` to `stop`, and the latency of each call."""

    def __init__(self) -> None:
        self._latencies = array.array("d")
        self._wall = self._cpu = self._peak_mb = 0.0

    def start(self) -> None:
        """Start."""
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()

    def add(self, answer: Answer, seconds: float) -> None:
        """Record a call and its latency; raises ValueError for an invalid answer."""
        answer.check()
        self._latencies.append(seconds)

    def stop(self) -> None:
        """Stop, after the last answer and before connections are closed."""
        self._wall, self._cpu = time.perf_counter() - self._wall, cpu_seconds() - self._cpu
        self._peak_mb = peak_rss_mb()

    def figures(self) -> dict[str, float]:
        """The figures, if each call was added."""
        ordered = sorted(self._latencies)
        calls = len(ordered)
        return self.totals(calls) | {
            "mean_ms": round(sum(ordered) / calls * 1e3, 2),
            "p50_ms": round(ordered[calls // 2] * 1e3, 2),
            "p99_ms": round(ordered[int(calls * 0.99)] * 1e3, 2),
        }

    def totals(self, number: int) -> dict[str, float]:
        """The figures for a number of calls or chunks."""
        return {
            "calls": number,
            "wall_s": round(self._wall, 3),
            "per_s": round(number / self._wall, 1),
            "cpu_us": round(self._cpu / number * 1e6, 1),
            "peak_mb": round(self._peak_mb, 1),
        }


def cpu_seconds() -> float:
    """CPU time of this process and of its child processes that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def peak_rss_mb() -> float:
    """The peak resident memory of this process, in MB of 1024 × 1024 bytes."""
    if sys.platform == "linux":
        # Not ru_maxrss, which starts with the memory of the parent process.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)


def run_on_loop(loop: str, main: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Run ``main`` on one of `LOOPS`."""
    backend, options = ("asyncio", {"use_uvloop": True}) if loop == "uvloop" else (loop, {})
    anyio.run(main, *arguments, backend=backend, backend_options=options)
