"""The options of `headrace serve` and the behaviour of the endpoint that it starts."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from headrace.cli.serve import serve
from headrace.testing.server import Behaviour

BATCHES = {
    "--batch-time 5s": Behaviour(batch_time=5.0),
    "--batch-failures 2%": Behaviour(batch_failures=0.02),
    "--batch-expire 1%": Behaviour(batch_expire=0.01),
    "--batch-max-requests 10": Behaviour(batch_max_requests=10),
    "--batch-max-bytes 1000": Behaviour(batch_max_bytes=1000),
    "--batch-max-tokens 100": Behaviour(batch_max_tokens=100),
}


@pytest.mark.parametrize("options", [*BATCHES, ""])
def test_options_of_batches_reach_the_endpoint(monkeypatch: pytest.MonkeyPatch, options: str) -> None:
    started: list[Behaviour] = []

    def run(behaviour: Behaviour, *_: Any, **__: Any) -> None:
        started.append(behaviour)

    monkeypatch.setattr("headrace.testing.server.server.serve", run)
    assert CliRunner().invoke(serve, options.split()).exit_code == 0
    assert started == [BATCHES.get(options, Behaviour())]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--batch-time 5", "write 5s, 5m or 5h"),
        ("--batch-failures 200%", "it must be between 0 and 1"),
        ("--batch-max-requests 0", "0 is not in the range"),
    ],
)
def test_values_that_are_wrong_are_named(options: str, message: str) -> None:
    result = CliRunner().invoke(serve, options.split())
    assert result.exit_code == 2
    assert message in result.output
