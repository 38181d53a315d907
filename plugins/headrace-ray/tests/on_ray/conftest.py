"""A cluster of Ray on this machine, once for all tests, and what they call and look at."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from headrace.testing.server import Behaviour, endpoint_process
from headrace.testing.server.process import EndpointProcess

# Before Ray is imported: it tells nobody of itself, and who wants to use the cluster needs its token.
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}

# Ray is a group of dependencies of its own; pytest ends with an error where it is asked for these tests and
# there are none.
collect_ignore_glob = [] if find_spec("ray") else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What Ray and what it is made of warn of is not ours to mend."""
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
    """A cluster of two processors; its address."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        import ray.data

        # Not pytest's folder: the paths of sockets are to be short. Ray itself would leave its logs behind.
        folder = tempfile.mkdtemp(prefix="ray-")
        try:
            context = ray.init(
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=200 << 20,
                _temp_dir=folder,
            )
            yield context.address_info["gcs_address"]
        finally:
            ray.shutdown()
            shutil.rmtree(folder)


@contextmanager
def serving_process(behaviour: Behaviour) -> Iterator[EndpointProcess]:
    """The embedded endpoint, for a block."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(endpoint_process(behaviour)) as endpoint,
    ):
        yield endpoint


@pytest.fixture
def serving() -> Callable[[Behaviour], Any]:
    """Runs the embedded endpoint for a block; its URL."""

    @contextmanager
    def run(behaviour: Behaviour) -> Iterator[str]:
        with serving_process(behaviour) as endpoint:
            yield endpoint.base_url

    return run


@pytest.fixture
def requests_at() -> Callable[[str], int]:
    """How many requests an endpoint has had."""

    def read(url: str) -> int:
        counts = httpx.get(f"{url.removesuffix('/v1')}/headrace/counts", trust_env=False).json()
        return int(counts["requests"])

    return read


def lines_in(out: Path) -> list[dict[str, Any]]:
    """The whole lines of all shards."""
    return [
        json.loads(line)
        for shard in sorted(out.glob("shard-*.jsonl"))
        for line in shard.read_bytes().rpartition(b"\n")[0].splitlines()
    ]


def write_rows(folder: Path, files: int, rows: int) -> None:
    """CSV files without ids."""
    folder.mkdir()
    for number in range(files):
        lines = [f"{number}-{row},{row}.90" for row in range(rows)]
        (folder / f"part{number}.csv").write_text("\n".join(["name,price", *lines]) + "\n")


@pytest.fixture
def command(cluster: str, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``headrace run --engine ray`` on the cluster; what has not ended by the test's end is killed."""
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
