"""`headrace bench`, against the endpoint that it starts and against the user's own."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

FEW = ("bench", "--calls", "50", "--in-flight", "1,20")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_one_row_for_each_number_of_calls_in_flight(headrace: Any, loop: str) -> None:
    result = headrace.run(*FEW, "--loop", loop, "--json", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert [row["in_flight"] for row in report["rows"]] == [1, 20]
    assert all(row["per_s"] > 0 and row["cpu_us"] > 0 for row in report["rows"])
    assert report["policies"] == ["logging", "otel", "cost", "repair", "retry", "breaker", "pace"]
    assert (report["loop"], report["simulated"]) == (loop, True)


def test_latency_is_at_least_the_endpoints(in_process: Any) -> None:
    result = in_process.run("bench", "--calls", "20", "--in-flight", "20", "--latency", "30ms", "--json")
    (row,) = json.loads(result.out)["rows"]
    assert row["mean_ms"] >= 30


def test_the_table_names_the_figure_to_compare(in_process: Any) -> None:
    result = in_process.run(*FEW)
    assert "CPU µs/call" in result.out
    assert "simulated by a Python process on the same cores" in result.out


def test_a_real_endpoint_is_called_only_after_confirmation(
    in_process: Any, endpoint: str, counts: Any
) -> None:
    arguments = (*FEW, "--base-url", endpoint, "--model", "m")
    before = counts(endpoint)
    refused = in_process.run(*arguments, input="n\n")
    assert refused.code == 1
    assert "This makes 102 real calls" in refused.err
    assert counts(endpoint) == before
    assert in_process.run(*arguments, input="y\n").code == 0
    result = in_process.run(*arguments, "--yes")
    assert result.code == 0, result.err
    assert "simulated" not in result.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--in-flight", "10,x"), "'10,x': must be integers separated by commas, like 1,10,100"),
        (("--in-flight", "0"), "each number must be at least 1"),
        (("--calls", "0"), "invalid value for '--calls'"),
        (("--model", "m"), "--model and --yes need --base-url"),
        (("--base-url", "http://127.0.0.1:9/v1", "--latency", "1ms"), "leave it out with --base-url"),
    ],
)
def test_mistakes_are_errors_before_anything_is_measured(
    in_process: Any, options: tuple[str, ...], message: str
) -> None:
    result = in_process.run("bench", *options)
    assert result.code == 2
    assert message in result.err


def test_an_unreachable_endpoint_is_an_error_of_one_line(in_process: Any) -> None:
    result = in_process.run(
        *FEW, "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--yes", HEADRACE_RETRY_ATTEMPTS="1"
    )
    assert result.code == 1
    assert "127.0.0.1:9" in result.err
    assert "Traceback" not in result.err


def test_ctrl_c_ends_it(headrace: Any, endpoint: str, counts: Any) -> None:
    before = counts(endpoint)
    arguments = ("--calls", "1000000", "--in-flight", "1", "--base-url", endpoint, "--model", "m", "--yes")
    with headrace.start("bench", *arguments) as process:
        end = time.monotonic() + 30
        while counts(endpoint) == before:  # until it makes calls
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130, out + err
    assert err.strip().endswith("Interrupted.")
