"""Some hundred inputs for each check; ``python -m tests.fuzz`` takes as many as there is time for."""

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
def test_whatever_an_endpoint_sends(name: str, seed: int) -> None:
    CHECKS[name](random.Random(seed))


@pytest.mark.parametrize("reasons", [STRICTER, LOOSER])
def test_where_two_parsers_differ_is_told_by_patterns_with_reasons(reasons: dict[str, str]) -> None:
    for pattern, reason in reasons.items():
        re.compile(pattern)
        assert len(reason) > 20


def test_the_long_program_says_how_much_it_tried() -> None:
    seed = "7"
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "0.1", "--seed", seed]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(rf"[\d,]+ inputs for each of {len(CHECKS)} checks, from seed {seed}\n", done.stdout)
