"""A plugin of pytest that keeps the garbage collector from the collected tests and their modules.

They live until the end, and each full collection takes 0.4 s to search them. That was a sixth of the CPU time
of tests that start no process.
"""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest


class FrozenTests:
    """Freezes what is collected, and what later tests have given back to the garbage collector."""

    def __init__(self) -> None:
        self._unfreeze = gc.unfreeze
        self._is_frozen = False

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Collect the tests without the garbage collector."""
        gc.disable()
        gc.unfreeze = self._note_and_unfreeze  # to count what is frozen takes too long after each test
        try:
            return (yield)
        finally:
            gc.enable()
            gc.freeze()
            self._is_frozen = True

    def _note_and_unfreeze(self) -> None:
        self._is_frozen = False
        self._unfreeze()

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self) -> None:
        """Freeze again after a test that unfreezes, as each `headrace run` in this process does."""
        if not self._is_frozen:
            gc.collect(1)  # what the test has left behind
            gc.freeze()
            self._is_frozen = True
