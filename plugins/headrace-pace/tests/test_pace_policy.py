"""The pace policy in a client, on asyncio and trio, and in virtual time."""

from __future__ import annotations

import functools
import itertools
import random
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
import trio

import headrace
from headrace import Endpoint
from headrace.testing import Answer, EventRecorder, FakeEndpoint, check_policy_contract
from headrace.wire.rate_limit_detector import DOMINANT
from headrace_pace import Pace
from headrace_pace.pause import PROBE_TIMEOUT

HOST, MODEL = "fake.test", "fake-model"


def too_many(**headers: str) -> Answer:
    return Answer(status=429, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def make_rejected_calls(client: headrace.Client, times: int) -> None:
    """Make calls one after the other; each gets a 429."""
    for _ in range(times):
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")


@pytest.mark.anyio
@pytest.mark.parametrize("settings", [{}, {"requests_per_minute": 1e6, "tokens_per_minute": 1e9}])
async def test_pace_fulfils_the_policy_contract(settings: dict[str, Any]) -> None:
    await check_policy_contract(lambda: Pace(**settings))


@pytest.mark.trio
async def test_calls_go_at_the_set_rate(autojump_clock: trio.testing.MockClock) -> None:
    endpoint, pace = FakeEndpoint(), Pace(requests_per_minute=3000, burst=0.1)
    async with endpoint.client([pace]) as client, client.map(["Hallo"] * 20) as outcomes:
        assert all([outcome.ok async for outcome in outcomes])
    # Five at once, and then 50 per second.
    assert endpoint.times[4] == endpoint.times[0]
    gaps = [later - earlier for earlier, later in itertools.pairwise(endpoint.times[4:])]
    assert gaps == pytest.approx([1 / 50] * 15)


@pytest.mark.trio
async def test_a_single_call_goes_before_a_waiting_map(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint = FakeEndpoint()
    async with (
        endpoint.client([Pace(requests_per_minute=60, burst=1)], max_in_flight=50) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.map(["bulk"] * 30).each, lambda outcome: None)
        await trio.sleep(5.5)
        nursery.start_soon(functools.partial(client.chat, "later", priority=-9))
        await client.chat("now")
        prompts = [request.body["messages"][0]["content"] for request in endpoint.attempts if request.body]
        assert prompts.index("now") == len(prompts) - 1 <= 7
        await client.chat("soon, or not at all", deadline=2.5)
    assert endpoint.attempts[-1].body is not None
    assert endpoint.attempts[-1].body["messages"][0]["content"] == "later"


@pytest.mark.trio
async def test_waiters_are_fifo(autojump_clock: trio.testing.MockClock) -> None:
    endpoint = FakeEndpoint()
    async with (
        endpoint.client([Pace(requests_per_minute=60, tokens_per_minute=6000, burst=5)]) as client,
        trio.open_nursery() as nursery,
    ):
        for number in range(20):
            # A large call does not starve among small ones.
            most = 400 if number == 7 else 10
            nursery.start_soon(functools.partial(client.chat, "Hallo", id=str(number), max_tokens=most))
            await trio.sleep(0.01)
    assert [request.id for request in endpoint.attempts] == [str(number) for number in range(20)]


@pytest.mark.trio
async def test_one_burst_goes_at_once_and_then_calls_are_evenly_spaced(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint = FakeEndpoint()
    async with (
        endpoint.client([Pace(requests_per_minute=120)]) as client,
        client.map(["Hallo"] * 7) as outcomes,
    ):
        assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.times == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5])


@pytest.mark.trio
async def test_tokens_are_estimated_before_and_settled_after(autojump_clock: trio.testing.MockClock) -> None:
    pace = Pace(tokens_per_minute=6000, burst=10)  # 100 per second, 1000 at once
    endpoint = FakeEndpoint(otherwise=Answer(delay=1.0, prompt_tokens=20, completion_tokens=80))
    async with endpoint.client([pace], max_in_flight=10) as client:

        async def call() -> None:
            await client.chat("Hallo", max_tokens=480)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            nursery.start_soon(call)
            await trio.sleep(0.5)
            assert 0 <= (pace.state(HOST, MODEL).tokens or 0) < 100  # two calls of about 500 each
            nursery.start_soon(call)
            await trio.sleep(0.4)
            assert len(endpoint.attempts) == 2
            assert pace.state(HOST, MODEL).waiting == 1
        # The third call went when the first two had been settled with 100 tokens each, and not when their
        # estimates were refilled.
        assert endpoint.times[2] == pytest.approx(1.0, abs=0.05)
        assert pace.state(HOST, MODEL).tokens == pytest.approx(1000 - 3 * 100 + 200, abs=10)


@pytest.mark.trio
async def test_an_underestimate_delays_later_calls(autojump_clock: trio.testing.MockClock) -> None:
    pace = Pace(tokens_per_minute=6000, burst=10)
    endpoint = FakeEndpoint(Answer(prompt_tokens=20, completion_tokens=2980))
    async with endpoint.client([pace]) as client:
        await client.chat("Hallo", max_tokens=10)
        assert pace.state(HOST, MODEL).tokens == -2000
        await client.chat("Hallo", max_tokens=10)
    assert endpoint.times[1] == pytest.approx(20.3, abs=0.1)


@pytest.mark.trio
async def test_a_stream_is_settled_at_its_end(autojump_clock: trio.testing.MockClock) -> None:
    pace = Pace(tokens_per_minute=6000, burst=10)
    endpoint = FakeEndpoint(Answer("one two three", prompt_tokens=20, completion_tokens=80))
    async with endpoint.client([pace]) as client:
        async with client.stream("Hallo", max_tokens=480) as stream:
            assert (pace.state(HOST, MODEL).tokens or 0) < 520
            async for _ in stream:
                pass
        assert pace.state(HOST, MODEL).tokens == 900


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("step", "left"),
    [
        (400, 1000),  # rejected: no tokens were used
        (429, 1000),
        (500, 500),  # accepted, and counted by its estimate
        (headrace.CallTimeout("slow"), 500),
    ],
)
async def test_tokens_that_a_failed_attempt_costs(step: Any, left: int) -> None:
    pace = Pace(tokens_per_minute=60, burst=1000)
    async with FakeEndpoint(step).client([pace]) as client:
        with pytest.raises(headrace.CallError):
            await client.chat("Hallo", max_tokens=470)
        assert pace.state(HOST, MODEL).tokens == pytest.approx(left, abs=25)


@pytest.mark.trio
@pytest.mark.parametrize(
    "rejection",
    [
        too_many(),
        too_many(retry_after="5"),
        too_many(retry_after_ms="1500"),
        too_many(retry_after="600"),
        too_many(x_ratelimit_remaining_requests="7", x_ratelimit_reset_requests="8s"),
        Answer(
            status=429, body={"error": {"message": "The engine is overloaded", "type": "overloaded_error"}}
        ),
    ],
)
async def test_a_single_429_delays_no_other_call(
    autojump_clock: trio.testing.MockClock, rejection: Answer
) -> None:
    endpoint, recorder, pace = FakeEndpoint(rejection), EventRecorder(), Pace()
    async with endpoint.client([pace], observers=[recorder]) as client:
        with pytest.raises(headrace.RateLimited):  # raised unchanged
            await client.chat("Hallo")
        assert pace.state(HOST, MODEL).paused_for == 0.0
        async with client.map(["Hallo"] * 50) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.times == [0.0] * 51
    assert recorder.events == []


@pytest.mark.trio
@pytest.mark.parametrize(
    ("rejection", "until"),
    [
        (too_many(retry_after="5"), 5.0),
        (too_many(retry_after_ms="1500"), 1.5),
        (too_many(), 1.0),
    ],
)
async def test_all_calls_pause_when_rejections_dominate(
    autojump_clock: trio.testing.MockClock, rejection: Answer, until: float
) -> None:
    endpoint, recorder, pace = FakeEndpoint(*[rejection] * DOMINANT), EventRecorder(), Pace()
    async with endpoint.client([pace], observers=[recorder]) as client:
        await make_rejected_calls(client, DOMINANT)
        assert pace.state(HOST, MODEL).paused_for == pytest.approx(until, abs=0.01)
        async with client.map(["Hallo"] * 5) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
        assert (await client.chat("Hallo", model="another")).text == "ok"
    assert endpoint.times[DOMINANT] == pytest.approx(until, abs=0.01)
    assert [(event.name, event.data["endpoint"], event.data["model"]) for event in recorder.events] == [
        ("pause", HOST, MODEL)
    ]


EXHAUSTED_LIMITS = [
    (too_many(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="8s"), 8.0),
    (too_many(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="8s", retry_after="3"), 3.0),
    (too_many(x_ratelimit_remaining_tokens="1", x_ratelimit_reset_tokens="9s"), 9.0),
    (
        too_many(
            anthropic_ratelimit_output_tokens_remaining="0",
            anthropic_ratelimit_output_tokens_reset="2099-01-01T00:00:10Z",
            date="Thu, 01 Jan 2099 00:00:00 GMT",
        ),
        10.0,
    ),
    (too_many(x_ratelimit_remaining_req_minute="0", x_ratelimit_reset_req_minute="30"), 30.0),
    (
        Answer(
            status=429,
            headers={"retry-after": "44"},
            body={
                "error": {"message": "Rate limit reached on requests per day (RPD): Limit 2000, Used 2000"}
            },
        ),
        44.0,
    ),
]


@pytest.mark.trio
@pytest.mark.parametrize(("rejection", "until"), EXHAUSTED_LIMITS)
async def test_a_429_of_an_exhausted_limit_pauses_all_calls(
    autojump_clock: trio.testing.MockClock, rejection: Answer, until: float
) -> None:
    endpoint, pace = FakeEndpoint(rejection), Pace()
    async with endpoint.client([pace]) as client:
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")
        assert pace.state(HOST, MODEL).paused_for == pytest.approx(until, abs=0.01)
        assert (await client.chat("Hallo")).text == "ok"
    assert endpoint.times[1] == pytest.approx(until, abs=0.01)


DAILY_QUOTA_ERRORS = [
    {
        "error": {
            "message": "Rate limit reached for m on tokens per day (TPD): Limit 100000",
            "type": "tokens",
        }
    },
    [{"error": {"code": 429, "details": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}}],
]


@pytest.mark.trio
@pytest.mark.parametrize("body", DAILY_QUOTA_ERRORS)
async def test_an_exhausted_daily_quota_causes_a_long_pause(
    autojump_clock: trio.testing.MockClock, body: Any
) -> None:
    endpoint = FakeEndpoint(Answer(status=429, body=msgspec.json.encode(body)))
    async with endpoint.client([Pace()]) as client:
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")
        with pytest.raises(headrace.EndpointPaused, match="retry after 3600 s"):
            await client.chat("Hallo")


@pytest.mark.trio
async def test_one_probe_goes_at_a_time_and_the_first_success_ends_the_pause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rejections = [too_many(retry_after="4")] * DOMINANT
    slow = Answer(delay=1.5)
    endpoint = FakeEndpoint(*rejections, too_many(), headrace.ConnectError("reset"), slow)
    endpoint.then(*["ok"] * 50)
    async with endpoint.client([Pace()]) as client:
        await make_rejected_calls(client, DOMINANT)
        async with client.map(["Hallo"] * 50) as outcomes:
            failed = [outcome async for outcome in outcomes if not outcome.ok]
    assert len(failed) == 2
    # The probe after 4 s is rejected, so the next one goes 8 s later. It fails otherwise, and the next one
    # goes at the rate.
    assert endpoint.times[DOMINANT : DOMINANT + 3] == pytest.approx([4.0, 12.0, 13.0])
    # All other calls wait until that one has succeeded.
    assert min(endpoint.times[DOMINANT + 3 :]) >= 14.5


@pytest.mark.trio
async def test_a_slow_probe_ends_the_pause_after_its_timeout(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rejections = [too_many(retry_after="4")] * DOMINANT
    endpoint = FakeEndpoint(*rejections, otherwise=Answer(delay=30.0))
    async with endpoint.client([Pace()]) as client:
        await make_rejected_calls(client, DOMINANT)
        async with client.map(["Hallo"] * 3) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.times[DOMINANT] == pytest.approx(4.0)
    assert endpoint.times[DOMINANT + 1] == pytest.approx(4.0 + PROBE_TIMEOUT, abs=1.0)


@pytest.mark.anyio
async def test_the_next_probe_goes_when_one_is_cancelled() -> None:
    endpoint = FakeEndpoint(*[too_many(retry_after_ms="20")] * DOMINANT, Answer(delay=60.0))
    pace = Pace()
    async with endpoint.client([pace]) as client:
        await make_rejected_calls(client, DOMINANT)
        with anyio.move_on_after(0.1) as scope:
            await client.chat("Hallo")
        assert scope.cancelled_caught
        with anyio.fail_after(PROBE_TIMEOUT / 2):
            assert (await client.chat("Hallo")).text == "ok"


@pytest.mark.trio
async def test_a_pause_does_not_affect_other_models(autojump_clock: trio.testing.MockClock) -> None:
    endpoint = FakeEndpoint(EXHAUSTED_LIMITS[0][0])
    async with endpoint.client([Pace()]) as client:
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")
        await client.chat("Hallo", model="another")
        await client.request("GET", "/models")  # names no model, and is not paced
    assert endpoint.times == [0.0, 0.0, 0.0]


@pytest.mark.trio
async def test_an_account_without_credit_causes_no_pause(autojump_clock: trio.testing.MockClock) -> None:
    body = {"error": {"message": "pay", "code": "insufficient_quota"}}
    endpoint, pace = FakeEndpoint(Answer(status=429, body=body, headers={"retry-after": "60"})), Pace()
    async with endpoint.client([pace]) as client:
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")
        assert pace.state(HOST, MODEL).paused_for == 0.0


@pytest.mark.trio
async def test_retries_wait_for_the_pause_and_then_queue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    endpoint = FakeEndpoint(*[too_many(retry_after="10")] * DOMINANT)
    retry = Retry(base=1.0, rng=random.Random(3))
    async with (
        endpoint.client([Pace(requests_per_minute=60, burst=DOMINANT), retry]) as client,
        client.map(["Hallo"] * (DOMINANT + 3)) as outcomes,
    ):
        assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.times[:DOMINANT] == [0.0] * DOMINANT
    # None goes before the pause is over; then the other fifteen go at the rate, one per second.
    assert endpoint.times[DOMINANT:] == pytest.approx(
        [11.0 + second for second in range(DOMINANT + 3)], abs=0.01
    )


@pytest.mark.trio
async def test_calls_fail_in_a_pause_above_the_maximum(autojump_clock: trio.testing.MockClock) -> None:
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    rejections = DOMINANT // 2  # half as many are enough if they ask for that long
    endpoint = FakeEndpoint(*[Answer(delay=5.0, status=429, headers={"retry-after": "600"})] * rejections)
    pace = Pace(requests_per_minute=1, burst=60 * rejections)
    failed: list[headrace.EndpointPaused] = []
    async with endpoint.client([pace, Breaker(consecutive=1)]) as client:

        async def wait() -> None:
            with pytest.raises(headrace.EndpointPaused) as caught:
                await client.chat("Hallo")
            failed.append(caught.value)

        async with trio.open_nursery() as nursery:

            async def begin() -> None:
                with pytest.raises(headrace.RateLimited):
                    await client.chat("Hallo")

            for _ in range(rejections):
                nursery.start_soon(begin)
            await trio.sleep(1.0)
            for _ in range(3):
                nursery.start_soon(wait)
        assert trio.current_time() == 5.0  # waiting calls fail at once
        with pytest.raises(headrace.CircuitOpen, match="retry after 600 s") as caught:
            await client.chat("Hallo")
        assert (caught.value.retry_after, caught.value.attempts, caught.value.code) == (
            600.0,
            0,
            "endpoint_paused",
        )
        await trio.sleep(caught.value.retry_after)
        assert (await client.chat("Hallo")).text == "ok"
    assert [error.retry_after for error in failed] == [600.0] * 3


@pytest.mark.trio
async def test_a_call_whose_turn_comes_after_its_deadline_fails_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint = FakeEndpoint()
    async with endpoint.client([Pace(requests_per_minute=60)]) as client:
        await client.chat("Hallo", deadline=0.5)
        with pytest.raises(headrace.DeadlineExceeded, match=r"in 1\.0 s at the earliest"):
            await client.chat("Hallo", deadline=0.5)
        assert trio.current_time() == 0.0
        assert (await client.chat("Hallo", deadline=1.5)).text == "ok"
    assert endpoint.times == [0.0, 1.0]


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(40))
async def test_cancelled_calls_release_their_turns(seed: int) -> None:
    rng = random.Random(seed)
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.001))
    pace = Pace(requests_per_minute=60_000, tokens_per_minute=6_000_000, burst=0.01)
    cancelled, done = 0, list[str]()
    async with endpoint.client([pace], max_in_flight=1000) as client:

        async def call(id: str, patience: float) -> None:
            nonlocal cancelled
            with anyio.move_on_after(patience) as scope:
                await client.chat("Hallo", id=id, max_tokens=rng.randrange(200))
                done.append(id)
            cancelled += scope.cancelled_caught

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for number in range(60):
                    group.start_soon(call, str(number), rng.uniform(0, 0.04))
                    if rng.random() < 0.3:
                        await anyio.lowlevel.checkpoint()
            assert (await client.chat("Hallo")).text == "ok"
        assert pace.state(HOST, MODEL).waiting == 0
    assert cancelled + len(done) == 60
    await anyio.sleep(0.05)
    # Cancelled calls have released their tokens: the buckets are full again.
    assert pace.state(HOST, MODEL).requests == 10


@pytest.mark.trio
async def test_route_skips_a_paused_endpoint(autojump_clock: trio.testing.MockClock) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    Route = pytest.importorskip("headrace_route").Route
    body = {"error": {"message": "Rate limit reached on requests per day (RPD): Limit 200"}}
    endpoint = FakeEndpoint(Answer(status=429, headers={"retry-after": "600"}, body=body))
    pace = Pace()
    names: list[str] = []

    class EndpointRecorder:
        name, stage = "seen", headrace.Stage.PACE

        def wrap(self, send: headrace.Send) -> headrace.Send:
            async def seen(call: headrace.Call) -> headrace.Reply:
                names.append(call.endpoint.name)
                return await send(call)

            return seen

    endpoints = [Endpoint("http://one.test/v1", name="one"), Endpoint("http://two.test/v1", name="two")]
    policies: list[headrace.Policy] = [pace, Route(by="order"), Retry(), EndpointRecorder()]
    async with headrace.Client(
        endpoints=endpoints, model=MODEL, policies=policies, transport=endpoint.client()._transport
    ) as client:
        for _ in range(3):
            await client.chat("Hallo")
        assert pace.state("one", MODEL).paused_for > 500
    # The rejected call, and those that would wait too long, go to the other endpoint.
    assert names == ["one", "two", "two", "two"]


def test_the_most_specific_limit_applies() -> None:
    pace = Pace(
        requests_per_minute=60,
        tokens_per_minute=600,
        limits={
            "here/m": {"requests_per_minute": 120},
            "m": {"requests_per_minute": 180, "tokens_per_minute": 1200},
            "here": {"requests_per_minute": 240, "tokens_per_minute": 2400},
        },
    )

    def of(endpoint: str, model: str) -> tuple[int | None, int | None]:
        limiter = pace._new_limiter(endpoint, model, 0.0)
        return limiter.state(0.0).requests, limiter.state(0.0).tokens

    assert of("here", "m") == (2, 20)
    assert of("there", "m") == (3, 20)
    assert of("here", "n") == (4, 40)
    assert of("there", "n") == (1, 10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests_per_minute": 0},
        {"tokens_per_minute": float("inf")},
        {"burst": -1.0},
        {"max_pause": float("nan")},
        {"limits": {"m": {"requests_per_minute": "many"}}},
        {"limits": {"m": 500}},
    ],
)
def test_settings_out_of_range_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(headrace.SettingsError, match=next(iter(wrong))):
        Pace(**wrong)


def test_a_misspelt_limit_is_rejected() -> None:
    with pytest.raises(headrace.SettingsError, match="did you mean 'requests_per_minute'"):
        Pace(limits={"m": {"request_per_minute": 5}})


def test_settings_from_file_environment_and_keyword(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "headrace.toml").write_text(
        '[pace]\nrequests_per_minute = 500\n[pace.limits."api.test/m"]\ntokens_per_minute = 1000\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_PACE_TOKENS_PER_MINUTE", "30000")
    client = FakeEndpoint().client(None, pace={"max_pause": 10})
    (policy,) = (policy for policy in client.policies if isinstance(policy, Pace))
    assert (policy.requests_per_minute, policy.tokens_per_minute, policy.max_pause) == (500, 30_000, 10)
    assert policy.limits == {"api.test/m": {"tokens_per_minute": 1000}}


@pytest.mark.trio
async def test_waiting_calls_follow_a_changed_rate(autojump_clock: trio.testing.MockClock) -> None:
    endpoint, pace = FakeEndpoint(), Pace(requests_per_minute=60)
    async with endpoint.client([pace]) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.map(["Hallo"] * 100, max_in_flight=100).each, lambda outcome: None)
        await trio.sleep(10)
        slow = len(endpoint.attempts)
        assert slow == pytest.approx(11, abs=1)
        pace.set_limit("requests-per-minute", "1200")
        assert pace.adjustable_limits()["requests-per-minute"] == 1200
        await trio.sleep(2)
        fast = len(endpoint.attempts)
        assert fast == pytest.approx(slow + 40, abs=2)
        pace.set_limit("requests-per-minute", None)
        await trio.sleep(0.1)
    assert len(endpoint.attempts) == 100
    assert trio.current_time() - endpoint.times[0] < 13


@pytest.mark.trio
async def test_a_rate_can_be_set_first_while_calls_are_made(autojump_clock: trio.testing.MockClock) -> None:
    endpoint, pace = FakeEndpoint(otherwise=Answer(delay=0.1)), Pace()
    async with endpoint.client([pace], max_in_flight=2) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.map(["Hallo"] * 40).each, lambda outcome: None)
        await trio.sleep(1)
        before = len(endpoint.attempts)
        pace.set_limit("tokens-per-minute", 15 * 60)  # a call uses 15 tokens
        await trio.sleep(10)
        assert len(endpoint.attempts) - before == pytest.approx(11, abs=2)
        for value in ("fast", 0, -1, "inf", True):
            with pytest.raises(headrace.SettingsError, match="must be a number above 0"):
                pace.set_limit("tokens-per-minute", value)
        pace.set_limit("tokens-per-minute", 1e9)
