"""A client in the fixtures of pytest's async plugins, each in its own pytest process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CONFTEST = """
import os
import pytest
import headrace
from headrace_breaker import Breaker
from headrace_retry import Retry
from tests.frameworks.policies import Ticking

def make_client(has_task):
    policies = [Breaker(), Retry(), Ticking()] if has_task else None
    return headrace.Client(base_url=os.environ["URL"], api_key="k", model="m", policies=policies)
"""

FIXTURE = """
from conftest import make_client
import pytest
{imports}

{fixture}
async def client():
    async with make_client({has_task}) as client:
        yield client
"""

TESTS = """

{mark}
async def test_chat(client):
    assert (await client.chat("Hello")).text

{mark}
async def test_map(client):
    async with client.map(["Hello"] * 20) as outcomes:
        assert len([outcome async for outcome in outcomes if outcome.ok]) == 20

{mark}
async def test_stream(client):
    async with client.stream("Hello") as pieces:
        assert [piece.text async for piece in pieces]

{mark}
async def test_that_is_cancelled(client):
    import anyio
    with anyio.move_on_after(0.001):
        await client.map(["Hello"] * 1000).each(lambda outcome: None)
"""


def run_pytest(folder: Path, endpoint: str, tests: str, *options: str) -> str:
    """The output of a pytest process that runs these tests, with warnings as errors."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(tests)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env=os.environ | {"URL": endpoint, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.stdout + ended.stderr


def written(has_task: bool, imports: str = "", fixture: str = "@pytest.fixture", mark: str = "") -> str:
    return (FIXTURE + TESTS).format(has_task=has_task, imports=imports, fixture=fixture, mark=mark)


OF_PYTEST_ASYNCIO = ("-p", "no:anyio", "-p", "no:trio", "-o", "asyncio_default_fixture_loop_scope=function")
with_and_without_tasks = pytest.mark.parametrize("has_task", [False, True], ids=["standard", "with a task"])


@with_and_without_tasks
def test_a_client_in_a_fixture_of_pytest_trio_works(tmp_path: Path, endpoint: str, has_task: bool) -> None:
    options = ("-p", "no:asyncio", "-p", "no:anyio", "-o", "trio_mode=true")
    assert "4 passed" in run_pytest(tmp_path, endpoint, written(has_task), *options)


@with_and_without_tasks
def test_a_client_in_a_fixture_of_anyio_works(tmp_path: Path, endpoint: str, has_task: bool) -> None:
    output = run_pytest(
        tmp_path, endpoint, written(has_task, mark="@pytest.mark.anyio"), "-p", "no:asyncio", "-p", "no:trio"
    )
    assert "8 passed" in output, output  # on each event loop


@pytest.mark.parametrize("scope", ["function", "module"])
def test_a_client_in_a_fixture_of_pytest_asyncio_works(tmp_path: Path, endpoint: str, scope: str) -> None:
    output = run_pytest(
        tmp_path,
        endpoint,
        written(
            False,
            "import pytest_asyncio",
            f"@pytest_asyncio.fixture(scope={scope!r}, loop_scope={scope!r})",
            f"@pytest.mark.asyncio(loop_scope={scope!r})",
        ),
        *OF_PYTEST_ASYNCIO,
    )
    assert "4 passed" in output, output


def test_background_tasks_in_a_fixture_of_pytest_asyncio_are_a_clear_error(
    tmp_path: Path, endpoint: str
) -> None:
    # It opens a fixture in one task and closes it in another, so no task can stay open in between.
    output = run_pytest(
        tmp_path,
        endpoint,
        written(True, "import pytest_asyncio", "@pytest_asyncio.fixture", "@pytest.mark.asyncio"),
        *OF_PYTEST_ASYNCIO,
    )
    assert "ClientStateError: this client has background tasks, so the task that entered it must" in output, (
        output
    )
    assert "4 passed" in output, output
