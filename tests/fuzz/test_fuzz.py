"""A few hundred inputs for each check; ``python -m tests.fuzz`` runs for any time."""

from __future__ import annotations

import random
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.by_h11 import LOOSER, STRICTER
from tests.fuzz.checks import CHECKS


@pytest.mark.parametrize("name", CHECKS)
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 1 << 48))
def test_checks_hold_for_random_input(name: str, seed: int) -> None:
    CHECKS[name](random.Random(seed))


@pytest.mark.parametrize("reasons", [STRICTER, LOOSER])
def test_differences_of_two_parsers_match_patterns_with_reasons(reasons: dict[str, str]) -> None:
    for pattern, reason in reasons.items():
        re.compile(pattern)
        assert len(reason) > 20


def test_the_fuzz_command_reports_its_number_of_inputs() -> None:
    seed = "7"
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "0.1", "--seed", seed]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(rf"[\d,]+ inputs for each of {len(CHECKS)} checks, from seed {seed}\n", done.stdout)
