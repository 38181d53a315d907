"""The pace policy in a client, on both loops, and in virtual time."""

from __future__ import annotations

import functools
import itertools
import random
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import msgspec
import pytest
import trio

import headrace
from headrace import Endpoint
from headrace.testing import Answer, FakeEndpoint, check_policy_contract
from headrace.wire.rate_limit_detector import DOMINANT
from headrace_pace import Pace
from headrace_pace.pause import PATIENCE

HOST, MODEL = "fake.test", "fake-model"


@attrs.define
class Ear:
    """An observer that remembers."""

    name: str = "ear"
    events: list[headrace.Event] = attrs.field(factory=list)

    def notify(self, event: headrace.Event) -> None:
        self.events.append(event)


def too_many(**headers: str) -> Answer:
    return Answer(status=429, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def refused(client: headrace.Client, times: int) -> None:
    """Make calls, one after the other, of which each gets a 429."""
    for _ in range(times):
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")


@pytest.mark.anyio
@pytest.mark.parametrize("settings", [{}, {"requests_per_minute": 1e6, "tokens_per_minute": 1e9}])
async def test_the_contract_of_policies(settings: dict[str, Any]) -> None:
    await check_policy_contract(lambda: Pace(**settings))


@pytest.mark.trio
async def test_calls_go_at_the_rate(autojump_clock: trio.testing.MockClock) -> None:
    endpoint, pace = FakeEndpoint(), Pace(requests_per_minute=3000, burst=0.1)
    async with endpoint.client([pace]) as client, client.map(["Hallo"] * 20) as outcomes:
        assert all([outcome.ok async for outcome in outcomes])
    # Five at once, and then 50 a second.
    assert endpoint.times[4] == endpoint.times[0]
    gaps = [later - earlier for earlier, later in itertools.pairwise(endpoint.times[4:])]
    assert gaps == pytest.approx([1 / 50] * 15)


@pytest.mark.trio
async def test_a_single_call_passes_the_map_that_stands_in_line(
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
        asked = [request.body["messages"][0]["content"] for request in endpoint.attempts if request.body]
        assert asked.index("now") == len(asked) - 1 <= 7
        await client.chat("soon, or not at all", deadline=2.5)
    assert endpoint.attempts[-1].body is not None
    assert endpoint.attempts[-1].body["messages"][0]["content"] == "later"


@pytest.mark.trio
async def test_first_in_first_out(autojump_clock: trio.testing.MockClock) -> None:
    endpoint = FakeEndpoint()
    async with (
        endpoint.client([Pace(requests_per_minute=60, tokens_per_minute=6000, burst=5)]) as client,
        trio.open_nursery() as nursery,
    ):
        for number in range(20):
            # A large one does not starve among small ones.
            most = 400 if number == 7 else 10
            nursery.start_soon(functools.partial(client.chat, "Hallo", id=str(number), max_tokens=most))
            await trio.sleep(0.01)
    assert [request.id for request in endpoint.attempts] == [str(number) for number in range(20)]


@pytest.mark.trio
async def test_the_first_calls_do_not_wait_and_the_others_come_evenly(
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
    pace = Pace(tokens_per_minute=6000, burst=10)  # 100 a second, 1000 at once
    endpoint = FakeEndpoint(otherwise=Answer(delay=1.0, prompt_tokens=20, completion_tokens=80))
    async with endpoint.client([pace], max_in_flight=10) as client:

        async def call() -> None:
            await client.chat("Hallo", max_tokens=480)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            nursery.start_soon(call)
            await trio.sleep(0.5)
            assert 0 <= (pace.state(HOST, MODEL).tokens or 0) < 100  # two of some 500
            nursery.start_soon(call)
            await trio.sleep(0.4)
            assert len(endpoint.attempts) == 2
            assert pace.state(HOST, MODEL).waiting == 1
        # The third went when the first two came back, having needed 100 each, and not when the estimates of
        # them were refilled.
        assert endpoint.times[2] == pytest.approx(1.0, abs=0.05)
        assert pace.state(HOST, MODEL).tokens == pytest.approx(1000 - 3 * 100 + 200, abs=10)


@pytest.mark.trio
async def test_what_was_underestimated_is_waited_off(autojump_clock: trio.testing.MockClock) -> None:
    pace = Pace(tokens_per_minute=6000, burst=10)
    endpoint = FakeEndpoint(Answer(prompt_tokens=20, completion_tokens=2980))
    async with endpoint.client([pace]) as client:
        await client.chat("Hallo", max_tokens=10)
        assert pace.state(HOST, MODEL).tokens == -2000
        await client.chat("Hallo", max_tokens=10)
    assert endpoint.times[1] == pytest.approx(20.3, abs=0.1)


@pytest.mark.trio
async def test_a_stream_is_settled_when_it_is_over(autojump_clock: trio.testing.MockClock) -> None:
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
        (400, 1000),  # refused: no tokens were used
        (429, 1000),
        (500, 500),  # accepted, and counted by what it may have needed
        (headrace.CallTimeout("slow"), 500),
    ],
)
async def test_what_a_failed_attempt_costs(step: Any, left: int) -> None:
    pace = Pace(tokens_per_minute=60, burst=1000)
    async with FakeEndpoint(step).client([pace]) as client:
        with pytest.raises(headrace.CallError):
            await client.chat("Hallo", max_tokens=470)
        assert pace.state(HOST, MODEL).tokens == pytest.approx(left, abs=25)


@pytest.mark.trio
@pytest.mark.parametrize(
    "refusal",
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
async def test_one_429_delays_nobody_else(autojump_clock: trio.testing.MockClock, refusal: Answer) -> None:
    endpoint, ear, pace = FakeEndpoint(refusal), Ear(), Pace()
    async with endpoint.client([pace], observers=[ear]) as client:
        with pytest.raises(headrace.RateLimited):  # it is raised as it is
            await client.chat("Hallo")
        assert pace.state(HOST, MODEL).paused_for == 0.0
        async with client.map(["Hallo"] * 50) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.times == [0.0] * 51
    assert ear.events == []


@pytest.mark.trio
@pytest.mark.parametrize(
    ("refusal", "until"),
    [
        (too_many(retry_after="5"), 5.0),
        (too_many(retry_after_ms="1500"), 1.5),
        (too_many(), 1.0),
    ],
)
async def test_where_refusals_dominate_all_calls_pause(
    autojump_clock: trio.testing.MockClock, refusal: Answer, until: float
) -> None:
    endpoint, ear, pace = FakeEndpoint(*[refusal] * DOMINANT), Ear(), Pace()
    async with endpoint.client([pace], observers=[ear]) as client:
        await refused(client, DOMINANT)
        assert pace.state(HOST, MODEL).paused_for == pytest.approx(until, abs=0.01)
        async with client.map(["Hallo"] * 5) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
        assert (await client.chat("Hallo", model="another")).text == "ok"
    assert endpoint.times[DOMINANT] == pytest.approx(until, abs=0.01)
    assert [(event.name, event.data["endpoint"], event.data["model"]) for event in ear.events] == [
        ("pause", HOST, MODEL)
    ]


SAYS_THAT_NOTHING_IS_LEFT = [
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
@pytest.mark.parametrize(("refusal", "until"), SAYS_THAT_NOTHING_IS_LEFT)
async def test_one_429_that_says_that_nothing_is_left_pauses_all(
    autojump_clock: trio.testing.MockClock, refusal: Answer, until: float
) -> None:
    endpoint, pace = FakeEndpoint(refusal), Pace()
    async with endpoint.client([pace]) as client:
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")
        assert pace.state(HOST, MODEL).paused_for == pytest.approx(until, abs=0.01)
        assert (await client.chat("Hallo")).text == "ok"
    assert endpoint.times[1] == pytest.approx(until, abs=0.01)


DAYS = [
    {
        "error": {
            "message": "Rate limit reached for m on tokens per day (TPD): Limit 100000",
            "type": "tokens",
        }
    },
    [{"error": {"code": 429, "details": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}}],
]


@pytest.mark.trio
@pytest.mark.parametrize("body", DAYS)
async def test_a_days_worth_that_is_used_up_is_no_short_pause(
    autojump_clock: trio.testing.MockClock, body: Any
) -> None:
    endpoint = FakeEndpoint(Answer(status=429, body=msgspec.json.encode(body)))
    async with endpoint.client([Pace()]) as client:
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")
        with pytest.raises(headrace.EndpointPaused, match="come back in 3600 s"):
            await client.chat("Hallo")


@pytest.mark.trio
async def test_one_probe_goes_at_a_time_and_the_first_that_succeeds_ends_the_pause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refusals = [too_many(retry_after="4")] * DOMINANT
    slow = Answer(delay=1.5)
    endpoint = FakeEndpoint(*refusals, too_many(), headrace.ConnectError("reset"), slow)
    endpoint.then(*["ok"] * 50)
    async with endpoint.client([Pace()]) as client:
        await refused(client, DOMINANT)
        async with client.map(["Hallo"] * 50) as outcomes:
            failed = [outcome async for outcome in outcomes if not outcome.ok]
    assert len(failed) == 2
    # A probe after 4 s is refused, so the next goes 8 s later; it says nothing, and the next goes, at the
    # rate.
    assert endpoint.times[DOMINANT : DOMINANT + 3] == pytest.approx([4.0, 12.0, 13.0])
    # All others wait until that has succeeded.
    assert min(endpoint.times[DOMINANT + 3 :]) >= 14.5


@pytest.mark.trio
async def test_an_answer_that_takes_its_time_keeps_nobody_in_a_pause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refusals = [too_many(retry_after="4")] * DOMINANT
    endpoint = FakeEndpoint(*refusals, otherwise=Answer(delay=30.0))
    async with endpoint.client([Pace()]) as client:
        await refused(client, DOMINANT)
        async with client.map(["Hallo"] * 3) as outcomes:
            assert all([outcome.ok async for outcome in outcomes])
    assert endpoint.times[DOMINANT] == pytest.approx(4.0)
    assert endpoint.times[DOMINANT + 1] == pytest.approx(4.0 + PATIENCE, abs=1.0)


@pytest.mark.anyio
async def test_a_probe_that_is_cancelled_lets_the_next_one_go() -> None:
    endpoint = FakeEndpoint(*[too_many(retry_after_ms="20")] * DOMINANT, Answer(delay=60.0))
    pace = Pace()
    async with endpoint.client([pace]) as client:
        await refused(client, DOMINANT)
        with anyio.move_on_after(0.1) as scope:
            await client.chat("Hallo")
        assert scope.cancelled_caught
        with anyio.fail_after(PATIENCE / 2):
            assert (await client.chat("Hallo")).text == "ok"


@pytest.mark.trio
async def test_another_model_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    endpoint = FakeEndpoint(SAYS_THAT_NOTHING_IS_LEFT[0][0])
    async with endpoint.client([Pace()]) as client:
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")
        await client.chat("Hallo", model="another")
        await client.request("GET", "/models")  # names none, and is not paced
    assert endpoint.times == [0.0, 0.0, 0.0]


@pytest.mark.trio
async def test_no_credit_is_no_reason_to_wait(autojump_clock: trio.testing.MockClock) -> None:
    body = {"error": {"message": "pay", "code": "insufficient_quota"}}
    endpoint, pace = FakeEndpoint(Answer(status=429, body=body, headers={"retry-after": "60"})), Pace()
    async with endpoint.client([pace]) as client:
        with pytest.raises(headrace.RateLimited):
            await client.chat("Hallo")
        assert pace.state(HOST, MODEL).paused_for == 0.0


@pytest.mark.trio
async def test_retries_wait_with_the_others_and_as_long_as_they_were_asked(
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
    # Nobody before the pause is over, and then at the rate: fifteen that are left, one a second.
    assert endpoint.times[DOMINANT:] == pytest.approx(
        [11.0 + second for second in range(DOMINANT + 3)], abs=0.01
    )


@pytest.mark.trio
async def test_a_pause_that_is_too_long_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    Breaker = pytest.importorskip("headrace_breaker").Breaker
    refusals = DOMINANT // 2  # half as many are enough where they ask for so long
    endpoint = FakeEndpoint(*[Answer(delay=5.0, status=429, headers={"retry-after": "600"})] * refusals)
    pace = Pace(requests_per_minute=1, burst=60 * refusals)
    refused: list[headrace.EndpointPaused] = []
    async with endpoint.client([pace, Breaker(consecutive=1)]) as client:

        async def wait() -> None:
            with pytest.raises(headrace.EndpointPaused) as caught:
                await client.chat("Hallo")
            refused.append(caught.value)

        async with trio.open_nursery() as nursery:

            async def begin() -> None:
                with pytest.raises(headrace.RateLimited):
                    await client.chat("Hallo")

            for _ in range(refusals):
                nursery.start_soon(begin)
            await trio.sleep(1.0)
            for _ in range(3):
                nursery.start_soon(wait)
        assert trio.current_time() == 5.0  # those who waited are told at once
        with pytest.raises(headrace.CircuitOpen, match="come back in 600 s") as caught:
            await client.chat("Hallo")
        assert (caught.value.retry_after, caught.value.attempts, caught.value.code) == (
            600.0,
            0,
            "endpoint_paused",
        )
        await trio.sleep(caught.value.retry_after)
        assert (await client.chat("Hallo")).text == "ok"
    assert [error.retry_after for error in refused] == [600.0] * 3


@pytest.mark.trio
async def test_a_call_whose_turn_comes_after_its_deadline_fails_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint = FakeEndpoint()
    async with endpoint.client([Pace(requests_per_minute=60)]) as client:
        await client.chat("Hallo", deadline=0.5)
        with pytest.raises(headrace.DeadlineExceeded, match=r"no turn for 1\.0 s"):
            await client.chat("Hallo", deadline=0.5)
        assert trio.current_time() == 0.0
        assert (await client.chat("Hallo", deadline=1.5)).text == "ok"
    assert endpoint.times == [0.0, 1.0]


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(40))
async def test_cancelled_at_any_moment_a_call_gives_its_place_back(seed: int) -> None:
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
    # What those who went away had been given came back: the buckets are full again.
    assert pace.state(HOST, MODEL).requests == 10


@pytest.mark.trio
async def test_with_route_a_paused_endpoint_is_passed_over(autojump_clock: trio.testing.MockClock) -> None:
    Retry = pytest.importorskip("headrace_retry").Retry
    Route = pytest.importorskip("headrace_route").Route
    body = {"error": {"message": "Rate limit reached on requests per day (RPD): Limit 200"}}
    endpoint = FakeEndpoint(Answer(status=429, headers={"retry-after": "600"}, body=body))
    pace = Pace()
    names: list[str] = []

    class Seen:
        name, stage = "seen", headrace.Stage.PACE

        def wrap(self, send: headrace.Send) -> headrace.Send:
            async def seen(call: headrace.Call) -> headrace.Reply:
                names.append(call.endpoint.name)
                return await send(call)

            return seen

    endpoints = [Endpoint("http://one.test/v1", name="one"), Endpoint("http://two.test/v1", name="two")]
    policies: list[headrace.Policy] = [pace, Route(by="order"), Retry(), Seen()]
    async with headrace.Client(
        endpoints=endpoints, model=MODEL, policies=policies, transport=endpoint.client()._transport
    ) as client:
        for _ in range(3):
            await client.chat("Hallo")
        assert pace.state("one", MODEL).paused_for > 500
    # The refusal itself, and those that would have had to wait too long, go to the other one.
    assert names == ["one", "two", "two", "two"]


def test_the_finest_limit_counts() -> None:
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
        lane = pace._new_lane(endpoint, model, 0.0)
        return lane.state(0.0).requests, lane.state(0.0).tokens

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
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(headrace.SettingsError, match=next(iter(wrong))):
        Pace(**wrong)


def test_a_misspelt_limit_is_an_error() -> None:
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
