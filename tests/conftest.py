"""Fixtures of all tests: an environment without the caller's settings, and fake installed plugins.

It also decides how the tests run: compiled modules are kept, the collected tests are frozen, and the longest
begin.
"""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import attrs
import hypothesis
import pytest
from tests.frozen_tests import FrozenTests

_SETTINGS = ("OPENAI_", "HEADRACE_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


# How many examples a property tries is said here: few in each run of the tests, and many with
# `nox -s properties`. A test does not fail because the machine is slow.
_SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("sample", max_examples=25, deadline=None, suppress_health_check=_SLOW)
hypothesis.settings.register_profile("thorough", max_examples=500, deadline=None, suppress_health_check=_SLOW)
hypothesis.settings.load_profile("sample")

_LONG = (
    *("plugins/headrace-redis/", "plugins/headrace-pace/tests/test_pace_simulated.py"),
    *("tests/crash/", "tests/interrupts/", "tests/docs/", "tests/benchmarks/"),
    *("tests/bulk/test_process_executor.py", "tests/cli/test_interruption.py"),
    "plugins/headrace-view/tests/test_view_browser.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled modules even with PYTHONDONTWRITEBYTECODE: tests start hundreds of processes.

    They go to pytest's cache, and none beside the sources. The processes of pytest-xdist inherit it all.
    """
    config.pluginmanager.register(FrozenTests())
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if sys.dont_write_bytecode and cache is not None:
        with suppress(OSError):  # a checkout that cannot be written
            sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(cache.mkdir("bytecode"))
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
            sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that no process is left with them at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings and proxies of the caller from the environment."""
    for name in list(os.environ):
        if name.startswith(_SETTINGS) or name.lower() in _PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def heeded_interrupts() -> None:
    """Let commands that tests start end on Ctrl-C, even if a shell runs the tests in its background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # child processes would inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)


@attrs.frozen
class _EntryPoint:
    name: str
    content: Any
    dist: Any

    def load(self) -> Any:
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that exactly these plugins are installed, found in this order.

    Called with ``name=module``, where the module may be any object with hooks, or an exception that its
    import raises; the distribution of NAME is headrace-NAME 1.0.
    """

    def install(**modules: Any) -> None:
        found = [
            _EntryPoint(name, module, SimpleNamespace(name=f"headrace-{name}", version="1.0"))
            for name, module in modules.items()
        ]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: found)

    return install
