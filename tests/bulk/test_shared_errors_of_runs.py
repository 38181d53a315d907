"""Bulk runs whose calls all get the same error: they stop, and a later session sends their items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import AuthenticationError, BudgetExceeded, HeadraceError, RateLimited, StatusError, TLSError
from headrace.bulk import Summary, run
from headrace.client import Client
from headrace.errors import CallError, CircuitOpen, ConnectError, EndpointPaused, PolicyError
from headrace.testing import Answer, FakeEndpoint

Lines = Callable[[Path], list[dict[str, Any]]]
ROWS = 100


def refusal(status: int, message: str, code: str | None = None, param: str | None = None) -> Answer:
    """An error in OpenAI's format."""
    return Answer(status=status, body={"error": {"message": message, "code": code, "param": param}})


NO_CREDIT = refusal(402, "Insufficient Balance")
QUOTA = refusal(429, "You exceeded your current quota", "insufficient_quota")
NO_MODEL = refusal(404, "no such model", "model_not_found")
TOO_LONG = refusal(400, "too long", "string_above_max_length", "messages[0].content")
PAGE = Answer(body=b"<!doctype html><html>Sign in</html>")
LATER = Answer(status=429, headers={"retry-after": "300"})

SHARED: dict[str, Any] = {
    "credit": NO_CREDIT,
    "quota": QUOTA,
    "model": NO_MODEL,
    "country": refusal(403, "not supported here", "unsupported_country_region_territory"),
    "key": 401,
    "method": 405,
    "moved": Answer(status=301, headers={"location": "https://elsewhere.test/"}),
    "parameter": refusal(400, "Unsupported value", "unsupported_value", "temperature"),
    "page": PAGE,
    "certificate": TLSError("the certificate has expired"),
    "policy": PolicyError("policy 'audit' raised KeyError"),
}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("id,text\n" + "".join(f"R{number},Text {number}\n" for number in range(ROWS)))
    return path


async def ask(client: Client, rows: Path, **keywords: Any) -> Summary:
    async with client:
        return await run(client, rows, prompt="{text}", out=rows.with_name("out.jsonl"), **keywords)


@pytest.mark.anyio
@pytest.mark.parametrize("name", SHARED)
async def test_a_run_stops_after_a_few_failures_and_the_same_call_continues(
    rows: Path, read_lines: Lines, name: str
) -> None:
    endpoint, out = FakeEndpoint("a", "a", otherwise=SHARED[name]), rows.with_name("out.jsonl")
    summary = await ask(endpoint.client(max_in_flight=5), rows)
    assert isinstance(summary.stopped_by, HeadraceError)
    assert (summary.succeeded, summary.failed, summary.left) == (2, 0, ROWS - 2)
    assert len(endpoint.attempts) <= 2 + 3 + 5
    assert [line["error"] for line in read_lines(out)] == [None, None]

    sound = FakeEndpoint()
    summary = await ask(sound.client(), rows)
    assert (summary.done_before, summary.succeeded, summary.left) == (2, ROWS - 2, 0)
    assert len(sound.attempts) == ROWS - 2


@pytest.mark.anyio
async def test_stopped_by_is_the_error_with_status_and_message(rows: Path) -> None:
    summary = await ask(FakeEndpoint(otherwise=NO_CREDIT).client(), rows)
    assert isinstance(summary.stopped_by, StatusError)
    assert summary.stopped_by.status == 402
    assert "Insufficient Balance" in str(summary.stopped_by)
    assert "status 402; the account has no credit left; add some" in str(summary.stopped_by)


@pytest.mark.anyio
async def test_a_quota_that_runs_out_leaves_the_rest_unsent(rows: Path, read_lines: Lines) -> None:
    # Calls that began before the quota ran out still succeed; that does not show that any is left.
    slow = [Answer("slow", delay=0.05)] * 4
    endpoint = FakeEndpoint(*["a"] * 50, *slow, otherwise=QUOTA)
    summary = await ask(endpoint.client(max_in_flight=5), rows)
    assert isinstance(summary.stopped_by, RateLimited)
    assert (summary.succeeded, summary.failed, summary.left) == (54, 0, ROWS - 54)
    assert len(endpoint.attempts) == 54 + 3
    assert len(read_lines(rows.with_name("out.jsonl"))) == 54


@pytest.mark.anyio
async def test_errors_about_content_fail_only_their_items(rows: Path) -> None:
    summary = await ask(FakeEndpoint(otherwise=TOO_LONG).client(), rows)
    assert (summary.failed, summary.left, summary.stopped_by) == (ROWS, 0, None)


@pytest.mark.anyio
async def test_errors_of_some_items_among_successes_fail_only_these(rows: Path, read_lines: Lines) -> None:
    steps: list[Any] = ["a", NO_MODEL] * 50
    summary = await ask(FakeEndpoint(*steps).client(max_in_flight=1), rows)
    assert (summary.succeeded, summary.failed, summary.stopped_by) == (50, 50, None)
    lines = read_lines(rows.with_name("out.jsonl"))
    assert sorted(line["custom_id"] for line in lines) == sorted(f"R{number}" for number in range(ROWS))


@pytest.mark.anyio
async def test_a_success_of_a_call_in_flight_lets_the_run_continue(rows: Path, read_lines: Lines) -> None:
    first = Answer(status=404, delay=0.01)
    steps: list[Any] = [first, Answer(delay=0.02), Answer("late", delay=0.05), 404, 404]
    summary = await ask(FakeEndpoint(*steps).client(max_in_flight=2), rows)
    assert (summary.succeeded, summary.failed, summary.left) == (ROWS - 3, 3, 0)
    assert summary.stopped_by is None
    assert len(read_lines(rows.with_name("out.jsonl"))) == ROWS


@pytest.mark.anyio
@pytest.mark.parametrize(("answer", "left"), [(401, 1), (NO_CREDIT, 1), (QUOTA, 1), (404, 0), (PAGE, 0)])
async def test_a_single_item_is_left_unsent_only_by_an_account_error(
    rows: Path, answer: Any, left: int
) -> None:
    summary = await ask(FakeEndpoint(otherwise=answer).client(), rows, limit=1)
    assert (summary.left, summary.failed) == (left, 1 - left)
    assert (summary.stopped_by is not None) == bool(left)


@pytest.mark.anyio
async def test_one_rejected_key_among_successes_is_a_failed_item(rows: Path) -> None:
    endpoint = FakeEndpoint("a", 401, "a")
    summary = await ask(endpoint.client(max_in_flight=1), rows)
    assert (summary.succeeded, summary.failures) == (ROWS - 1, {AuthenticationError.code: 1})


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [2, ROWS])
async def test_a_spent_budget_stops_the_run_at_the_first_item(
    rows: Path, read_lines: Lines, limit: int
) -> None:
    endpoint = FakeEndpoint(Answer(delay=0.02), otherwise=BudgetExceeded("spent"))
    summary = await ask(endpoint.client(max_in_flight=2), rows, limit=limit)
    assert isinstance(summary.stopped_by, BudgetExceeded)
    assert (len(endpoint.attempts), summary.succeeded, summary.left) == (2, 1, limit - 1)
    assert len(read_lines(rows.with_name("out.jsonl"))) == 1


@pytest.mark.anyio
async def test_with_all_items_in_flight_failures_among_successes_are_failed_items(rows: Path) -> None:
    endpoint = FakeEndpoint(404, 404, 404, otherwise=Answer(delay=0.02))
    summary = await ask(endpoint.client(max_in_flight=ROWS), rows)
    assert (summary.succeeded, summary.failed, summary.stopped_by) == (ROWS - 3, 3, None)


@pytest.mark.anyio
async def test_failed_items_are_sent_again_after_a_shared_error(rows: Path) -> None:
    summary = await ask(FakeEndpoint(400, otherwise=NO_CREDIT).client(max_in_flight=1), rows)
    assert (summary.failed, summary.left) == (1, ROWS - 1)
    summary = await ask(FakeEndpoint().client(), rows, retry_failed=True)
    assert (summary.succeeded, summary.failed_before, summary.left) == (ROWS, 0, 0)


# Rate limits pass.


@pytest.mark.trio
async def test_the_run_waits_for_a_rate_limit_and_no_item_fails(
    rows: Path, autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = FakeEndpoint("a", *[LATER] * 3)
    summary = await ask(endpoint.client(max_in_flight=1), rows)
    assert (summary.succeeded, summary.failed, summary.stopped_by) == (ROWS, 0, None)
    assert trio.current_time() == pytest.approx(300, abs=1)


@pytest.mark.trio
async def test_the_summary_says_why_a_run_waits(rows: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with (
        FakeEndpoint(*[LATER] * 3).client(max_in_flight=1) as client,
        run(client, rows, prompt="{text}", out=rows.with_name("out.jsonl")) as followed,
    ):
        await anyio.sleep(250)
        assert "status 429" in followed.snapshot().waiting
        await followed.wait()
        assert followed.snapshot().waiting == ""


@pytest.mark.trio
@pytest.mark.parametrize("pause", [None, EndpointPaused("not sent: paused", 3600.0)])
async def test_a_rate_limit_with_a_long_retry_after_stops_the_run_with_the_endpoints_message(
    rows: Path, autojump_clock: trio.testing.MockClock, pause: CallError | None
) -> None:
    refused = Answer(status=429, headers={"retry-after": "3600"})
    steps = [refused] if pause is None else [refused, pause]
    summary = await ask(FakeEndpoint(*steps, otherwise=pause or refused).client(max_in_flight=2), rows)
    assert isinstance(summary.stopped_by, RateLimited)
    assert "status 429" in str(summary.stopped_by)
    assert (summary.failed, summary.left) == (0, ROWS)
    assert trio.current_time() < 1


@pytest.mark.trio
async def test_a_past_rate_limit_is_not_the_reason_of_a_later_pause(
    rows: Path, autojump_clock: trio.testing.MockClock
) -> None:
    later = CircuitOpen("not sent: the circuit is open (reset by peer)", 3600.0)
    summary = await ask(FakeEndpoint(429, "a", otherwise=later).client(max_in_flight=1), rows)
    assert isinstance(summary.stopped_by, CircuitOpen)
    assert "reset by peer" in str(summary.stopped_by)


@pytest.mark.trio
async def test_without_retry_after_the_pauses_double(
    rows: Path, autojump_clock: trio.testing.MockClock
) -> None:
    endpoint = FakeEndpoint(otherwise=429)
    summary = await ask(endpoint.client(max_in_flight=1), rows)
    assert isinstance(summary.stopped_by, RateLimited)
    assert (summary.failed, summary.left) == (0, ROWS)
    assert trio.current_time() == pytest.approx(600)
    assert len(endpoint.attempts) < 60


STEPS: list[Any] = [
    *("a", "b", NO_MODEL, NO_CREDIT, TOO_LONG, 401, 403, PAGE),
    *(
        ConnectError("refused"),
        500,
        LATER,
        PolicyError("bad"),
        Answer(delay=0.5),
        Answer(status=404, delay=0.5),
    ),
]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(range(len(STEPS))), max_size=80), st.integers(1, 7))
def test_each_item_has_one_line_after_any_sequence_of_errors(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], max_in_flight: int
) -> None:
    path = tmp_path_factory.mktemp("run") / "rows.csv"
    path.write_text("id,text\n" + "".join(f"R{number},Text {number}\n" for number in range(30)))
    endpoint = FakeEndpoint(*[STEPS[step] for step in steps])

    async def main() -> None:
        sent = 0
        while True:
            summary = await ask(endpoint.client(max_in_flight=max_in_flight), path)
            lines = path.with_name("out.jsonl").read_bytes().splitlines()
            assert len(lines) == summary.done
            if not summary.left:
                assert summary.stopped_by is None
                break
            assert isinstance(summary.stopped_by, HeadraceError)
            assert len(endpoint.attempts) > sent, "each session sends something"
            sent = len(endpoint.attempts)
        ids = {line.split(b'"custom_id":"')[1].split(b'"')[0] for line in lines}
        assert len(ids) == len(lines) == 30

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
