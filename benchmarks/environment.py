"""The environment of a measurement, which is part of every result."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = (
    "headrace trio anyio uvloop httptools ngh2 msgspec httpx h2 aiohttp openai httpx2 pyreqwest".split()
)


def describe_environment() -> dict[str, str]:
    """Date, machine, Python and the versions of the packages, as text."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores, {memory()}",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {found}" for name in PACKAGES if (found := installed(name))),
    }


def processor() -> str:
    """The processor's name."""
    return field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def memory() -> str:
    """The size of the machine's memory."""
    return f"{int(field('/proc/meminfo', 'MemTotal').removesuffix('kB') or 0) / 2**20:.0f} GB of memory"


def field(path: str, name: str) -> str:
    """The first value of a name in a file with lines like ``name: value``, or an empty string."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def installed(package: str) -> str | None:
    """The version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
