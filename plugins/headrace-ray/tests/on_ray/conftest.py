"""A Ray cluster on this machine, shared by all tests, and their helpers."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from headrace.testing.server import Behaviour, endpoint_process
from headrace.testing.server.process import EndpointProcess

# Set before Ray is imported: no usage reports, and a token to use the cluster.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}

# Ray is in its own dependency group. Without it, no test here is collected.
collect_ignore_glob = [] if find_spec("ray") else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore the warnings of Ray and its dependencies."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for ignored in (
                "ignore:.*:DeprecationWarning:ray",
                "ignore:.*:FutureWarning:ray",
                "ignore:.*:UserWarning:ray",
                "ignore:.*:ResourceWarning",  # its sockets and files, closed by the garbage collector
                "ignore:.*:pytest.PytestUnraisableExceptionWarning",
            ):
                item.add_marker(pytest.mark.filterwarnings(ignored))


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Provide the address of a cluster with two processors."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        import ray.data

        # Not pytest's folder: paths of sockets must be short. By default, Ray would leave its logs behind.
        folder = tempfile.mkdtemp(prefix="ray-")
        try:
            yield _start_ray(folder)
        finally:
            ray.shutdown()
            shutil.rmtree(folder)


def _start_ray(folder: str) -> str:
    """Start a cluster and return its address.

    Ray gives up after 30 s, which a loaded machine may need. What such a try has started ends with this
    process.
    """
    import ray

    options = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 200 << 20}
    for _ in range(2):
        with suppress(Exception):
            return str(ray.init(log_to_driver=False, _temp_dir=folder, **options).address_info["gcs_address"])
        ray.shutdown()
    return str(ray.init(log_to_driver=False, _temp_dir=folder, **options).address_info["gcs_address"])


@contextmanager
def serving_process(behaviour: Behaviour) -> Iterator[EndpointProcess]:
    """Run the embedded endpoint inside the block."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(endpoint_process(behaviour)) as endpoint,
    ):
        yield endpoint


@pytest.fixture
def serving() -> Callable[[Behaviour], Any]:
    """Return a context manager that runs the embedded endpoint and provides its URL."""

    @contextmanager
    def run(behaviour: Behaviour) -> Iterator[str]:
        with serving_process(behaviour) as endpoint:
            yield endpoint.base_url

    return run


@pytest.fixture
def requests_at() -> Callable[[str], int]:
    """Return a function that counts the requests of an endpoint."""

    def read(url: str) -> int:
        counts = httpx.get(f"{url.removesuffix('/v1')}/headrace/counts", trust_env=False).json()
        return int(counts["requests"])

    return read


def lines_in(out: Path) -> list[dict[str, Any]]:
    """Return the whole lines of all shards."""
    return [
        json.loads(line)
        for shard in sorted(out.glob("shard-*.jsonl"))
        for line in shard.read_bytes().rpartition(b"\n")[0].splitlines()
    ]


def write_rows(folder: Path, files: int, rows: int) -> None:
    """Write CSV files without ids."""
    folder.mkdir()
    for number in range(files):
        lines = [f"{number}-{row},{row}.90" for row in range(rows)]
        (folder / f"part{number}.csv").write_text("\n".join(["name,price", *lines]) + "\n")


@pytest.fixture
def command(cluster: str, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts ``headrace run --engine ray``; kill its processes after the test."""
    started = []

    def start(url: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-c", "from headrace_command import main; main()"]
        engine = ["--engine", "ray", "--ray-address", cluster]
        process = subprocess.Popen(
            [*program, "run", *arguments, *engine],
            cwd=tmp_path,
            env=os.environ | {"OPENAI_BASE_URL": url} | environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()
