"""The log of calls: which lines, at which level, with which fields, and without keys."""

from __future__ import annotations

import json
import logging
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

import headrace
from headrace.testing import Answer, FakeEndpoint, check_policy_contract
from headrace_logging import Logging
from headrace_logging.fields import BODY_LIMIT, logfmt_line

CANARY = "sk-canary-0123456789abcdef"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "headrace")
    return caplog


def logfmt_fields(text: str) -> dict[str, str]:
    """The key-value pairs of a logfmt line."""
    return dict(word.split("=", 1) for word in shlex.split(text) if "=" in word)


@pytest.mark.anyio
async def test_policy_contract() -> None:
    await check_policy_contract(Logging)


@pytest.mark.anyio
async def test_policy_contract_with_everything_logged(log: pytest.LogCaptureFixture) -> None:
    await check_policy_contract(lambda: Logging(bodies=True))


@pytest.mark.anyio
async def test_successful_call_is_one_line(log: pytest.LogCaptureFixture) -> None:
    async with FakeEndpoint().client([Logging()], model="gpt-4.1") as client:
        await client.chat("Hallo", id="7", tags={"team": "a b"})
    (record,) = log.records
    assert (record.name, record.levelno) == ("headrace.calls", logging.INFO)
    text = record.getMessage()
    assert text.startswith("call ok headrace.id=7 gen_ai.request.model=gpt-4.1 ")
    elapsed = logfmt_fields(text).pop("headrace.elapsed_ms")
    assert 0 <= float(elapsed) < 10_000
    assert logfmt_fields(text) == {
        "headrace.id": "7",
        "gen_ai.request.model": "gpt-4.1",
        "headrace.tag.team": "a b",
        "headrace.attempts": "1",
        "headrace.elapsed_ms": elapsed,
        "http.response.status_code": "200",
        "gen_ai.response.model": "gpt-4.1",
        "gen_ai.usage.input_tokens": "10",
        "gen_ai.usage.output_tokens": "5",
    }


@pytest.mark.anyio
async def test_queued_call_logs_its_queue_time(log: pytest.LogCaptureFixture) -> None:
    async with (
        FakeEndpoint().client([Logging()], max_in_flight=1) as client,
        anyio.create_task_group() as group,
        client.stream("holds the token") as stream,
    ):
        group.start_soon(client.chat, "waits")
        await anyio.sleep(0.02)
        async for _ in stream:
            pass
    first, waited = [logfmt_fields(record.getMessage()) for record in log.records]
    assert "headrace.queued_ms" not in first
    assert float(waited["headrace.queued_ms"]) >= 10
    assert float(waited["headrace.elapsed_ms"]) < float(waited["headrace.queued_ms"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, {}),
        ({"prompt_tokens": None, "completion_tokens": None}, {}),
        ({"prompt_tokens": 9, "completion_tokens": 0}, {"input_tokens": "9", "output_tokens": "0"}),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 20},
                "completion_tokens_details": {"reasoning_tokens": 15, "audio_tokens": 0},
            },
            {
                "input_tokens": "100",
                "output_tokens": "50",
                "cache_read.input_tokens": "40",
                "cache_creation.input_tokens": "20",
                "reasoning.output_tokens": "15",
            },
        ),
    ],
)
async def test_only_reported_token_counts_are_logged(
    log: pytest.LogCaptureFixture, usage: Any, expected: dict[str, str]
) -> None:
    body = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": usage}
    async with FakeEndpoint(Answer(body=body)).client([Logging()]) as client:
        await client.chat("Hallo")
    found = logfmt_fields(log.records[0].getMessage()).items()
    prefix = "gen_ai.usage."
    assert {name.removeprefix(prefix): value for name, value in found if name.startswith(prefix)} == expected


@pytest.mark.anyio
async def test_fields_are_attributes_of_the_record(log: pytest.LogCaptureFixture) -> None:
    # structlog's ExtraAdder and JSON formatters find them there, with their types.
    async with FakeEndpoint().client([Logging()]) as client:
        await client.chat("Hallo", id="7")
    extra = log.records[0].__dict__
    assert extra["headrace.event"] == "call ok"
    assert extra["headrace.id"] == "7"
    assert extra["gen_ai.usage.input_tokens"] == 10
    assert extra["http.response.status_code"] == 200
    json.dumps({name: value for name, value in extra.items() if "." in name})


@pytest.mark.anyio
async def test_unknown_fields_are_left_out(log: pytest.LogCaptureFixture) -> None:
    async with FakeEndpoint(Answer(body={"data": []}), 500).client([Logging()]) as client:
        await client.request("GET", "/models")
        with pytest.raises(headrace.ServerError):
            await client.request("GET", "/models")
    ok, failed = (set(logfmt_fields(record.getMessage())) for record in log.records)
    always = {"url.path", "headrace.attempts", "headrace.elapsed_ms", "http.response.status_code"}
    assert ok == always
    assert failed - {"headrace.error_code"} == always | {"error.type"}


class PricePolicy:
    """A fake cost policy."""

    name = "price"
    stage = headrace.Stage.ACCOUNT

    def wrap(self, send: headrace.Send) -> headrace.Send:
        async def price(call: headrace.Call) -> headrace.Reply:
            reply = await send(call)
            reply.cost = Decimal("0.00006")
            return reply

        return price


@pytest.mark.anyio
async def test_known_cost_is_logged(log: pytest.LogCaptureFixture) -> None:
    async with FakeEndpoint().client([Logging(), PricePolicy()]) as client:
        await client.chat("Hallo")
    assert "headrace.cost=0.00006" in log.text


@pytest.mark.anyio
async def test_failed_call_is_one_warning(log: pytest.LogCaptureFixture) -> None:
    secret = {"error": {"message": "you said: my secret", "code": "model_not_found"}}
    endpoint = FakeEndpoint(
        Answer(status=404, body=secret), headrace.ConnectError("refused"), ValueError("bug")
    )
    async with endpoint.client([Logging()]) as client:
        for _ in range(3):
            with pytest.raises(headrace.CallError):
                await client.chat("Hallo")
    assert [record.levelno for record in log.records] == [logging.WARNING] * 3
    refused, unreached, bug = (logfmt_fields(record.getMessage()) for record in log.records)
    assert refused["error.type"] == "status_error"
    assert refused["http.response.status_code"] == "404"
    assert refused["headrace.error_code"] == "model_not_found"
    assert "my secret" not in log.text, "an error's message quotes the reply, which is a body"
    assert (unreached["error.type"], unreached["error.message"]) == ("connect_error", "refused")
    assert (bug["error.type"], bug["error.message"]) == ("ValueError", "bug")


@pytest.mark.anyio
async def test_cancelled_call_is_not_a_failure(log: pytest.LogCaptureFixture) -> None:
    async with FakeEndpoint(Answer(delay=60)).client([Logging()]) as client:
        with anyio.move_on_after(0.01):
            await client.chat("Hallo")
    (record,) = log.records
    assert record.levelno == logging.INFO
    assert record.getMessage().startswith("call cancelled ")


class NotifyingPolicy:
    """Sends the events of several policies."""

    name = "notifying"
    stage = headrace.Stage.PERSIST

    def wrap(self, send: headrace.Send) -> headrace.Send:
        async def notify(call: headrace.Call) -> headrace.Reply:
            call.notify("retry", attempt=1, delay=0.123456, error="server_error", status=503)
            call.notify("retry_budget", budget=500, left=0)
            call.notify("circuit", endpoint="http://fake.test/v1", state="open", open_for=60.0)
            call.notify("failover", endpoint="a", error="timeout")
            call.notify("cache", hit=True)
            call.notify("repair", attempt=1, error="'canary' is not a number")
            call.notify("hedge", state="sent", after=0.5)
            call.notify("adaptive", endpoint="a", limit=80, why="rate_limited")
            call.notify("redis", state="away")
            return await send(call)

        return notify


@pytest.mark.anyio
async def test_retries_and_circuit_changes_are_warnings(log: pytest.LogCaptureFixture) -> None:
    async with FakeEndpoint().client([Logging(), NotifyingPolicy()]) as client:
        await client.chat("Hallo", id="7")
    retry, budget, circuit, failover, *_ = log.records
    assert failover.getMessage().startswith("failover headrace.id=7 ")
    assert retry.levelno == budget.levelno == circuit.levelno == logging.WARNING
    assert retry.getMessage().startswith("retry headrace.id=7 ")
    assert logfmt_fields(retry.getMessage())["headrace.retry.delay"] == "0.123"
    assert logfmt_fields(retry.getMessage())["headrace.retry.status"] == "503"
    assert budget.getMessage().startswith("retry_budget headrace.id=7 ")
    assert logfmt_fields(budget.getMessage())["headrace.retry_budget.left"] == "0"
    assert logfmt_fields(circuit.getMessage())["headrace.circuit.state"] == "open"
    assert retry.__dict__["headrace.retry.attempt"] == 1


@pytest.mark.anyio
async def test_harmless_events_are_info_and_events_that_quote_answers_are_not_logged(
    log: pytest.LogCaptureFixture,
) -> None:
    async with FakeEndpoint().client([Logging(), NotifyingPolicy()]) as client:
        await client.chat("Hallo", id="7")
    *_, hedge, adaptive, redis, ok = log.records
    assert [record.levelno for record in (hedge, adaptive, redis, ok)] == [logging.INFO] * 4
    assert hedge.getMessage().startswith("hedge headrace.id=7 ")
    assert hedge.getMessage().endswith(" headrace.hedge.state=sent headrace.hedge.after=0.5")
    assert adaptive.__dict__["headrace.adaptive.limit"] == 80
    assert redis.__dict__["headrace.event"] == "redis"
    assert "canary" not in log.text
    assert "cache" not in log.text


@pytest.mark.anyio
async def test_bodies_are_not_logged_by_default(log: pytest.LogCaptureFixture) -> None:
    async with FakeEndpoint("an answer", 500).client([Logging()]) as client:
        await client.chat("a question")
        with pytest.raises(headrace.ServerError):
            await client.chat("a question")
    assert len(log.records) == 2
    assert "an answer" not in log.text
    assert "a question" not in log.text


@pytest.mark.anyio
async def test_bodies_are_logged_at_debug_with_bodies(log: pytest.LogCaptureFixture) -> None:
    answer = Answer(status=400, body={"error": {"message": "why not"}})
    async with FakeEndpoint("ü" * 3000, answer).client([Logging(bodies=True)]) as client:
        await client.chat("a question", id="7")
        with pytest.raises(headrace.StatusError):
            await client.chat("another")
    bodies = [record for record in log.records if record.levelno == logging.DEBUG]
    assert [record.__dict__["headrace.event"] for record in bodies] == ["request body", "answer body"] * 2
    texts = [record.__dict__["headrace.body"] for record in bodies]
    assert "a question" in texts[0]
    assert bodies[0].__dict__["headrace.id"] == "7"
    assert len(texts[1]) == BODY_LIMIT + 1
    assert texts[1].endswith("ü…")
    assert "why not" in texts[3]
    assert "error.message" in log.records[3].__dict__


@pytest.mark.anyio
async def test_bodies_are_not_logged_above_debug(log: pytest.LogCaptureFixture) -> None:
    log.set_level(logging.INFO, "headrace")
    async with FakeEndpoint().client([Logging(bodies=True)]) as client:
        await client.chat("a question")
    assert len(log.records) == 1


@pytest.mark.anyio
async def test_disabled_levels_are_not_logged(log: pytest.LogCaptureFixture) -> None:
    async with FakeEndpoint("ok", 400, Answer(delay=60), 400).client(
        [Logging(), NotifyingPolicy()]
    ) as client:
        log.set_level(logging.WARNING, "headrace")
        await client.chat("Hallo")
        events = [record.__dict__["headrace.event"] for record in log.records]
        assert events == ["retry", "retry_budget", "circuit", "failover"]
        log.set_level(logging.ERROR, "headrace")
        log.clear()
        with pytest.raises(headrace.StatusError):
            await client.chat("Hallo")
        with anyio.move_on_after(0.01):
            await client.chat("Hallo")
        assert log.records == []
        log.set_level(logging.WARNING, "headrace")  # levels may change while a client is open
        with pytest.raises(headrace.StatusError):
            await client.chat("Hallo")
        assert log.records[-1].getMessage().startswith("call failed ")


@pytest.mark.anyio
async def test_no_record_contains_the_key(log: pytest.LogCaptureFixture) -> None:
    echo = {"error": {"message": f"bad key {CANARY}", "code": CANARY}}
    half_cut = b'"' + b"x" * (BODY_LIMIT - 10) + CANARY.encode() * 100 + b'"'
    endpoint = FakeEndpoint(
        Answer(CANARY),
        Answer(status=401, body=echo),
        Answer(status=400, body=echo),
        Answer(body={"error": CANARY}),
        Answer(status=500, body=half_cut),
        headrace.ConnectError(f"refused {CANARY}"),
    )
    async with endpoint.client([Logging(bodies=True), NotifyingPolicy()], api_key=CANARY) as client:
        for number in range(6):
            try:
                await client.chat(f"my key is {CANARY}", id=f"{number}-{CANARY}", tags={"key": CANARY})
            except headrace.CallError:
                continue
    assert len(log.records) == 6 * 10 - 2
    for record in log.records:
        everything = f"{record.getMessage()} {record.__dict__}"
        assert CANARY not in everything
        assert CANARY[:9] not in everything, "half of a key"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (5, "a=5"),
        ("plain", "a=plain"),
        ("", 'a=""'),
        ("two words", 'a="two words"'),
        ("a=b", 'a="a=b"'),
        ('say "hi" \\', 'a="say \\"hi\\" \\\\"'),
        ("line\nbreak", 'a="line\\nbreak"'),
        ("\x1b[31m\u2028\x85", 'a="\\x1b[31m\\u2028\\x85"'),
        (None, "a=None"),
    ],
)
def test_logfmt_values(value: Any, written: str) -> None:
    assert logfmt_line("event", {"a": value}) == f"event {written}"


@pytest.mark.anyio
async def test_tag_cannot_forge_a_line(log: pytest.LogCaptureFixture) -> None:
    async with FakeEndpoint().client([Logging()]) as client:
        await client.chat("Hallo", tags={"a\ncall ok x": "b\nc"})
    assert "\n" not in log.records[0].getMessage()
    assert "headrace.tag.a_call_ok_x" in log.records[0].__dict__


def test_settings_from_file_environment_and_keyword(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bodies(**keywords: Any) -> bool:
        client = FakeEndpoint().client(None, **keywords)
        (policy,) = (policy for policy in client.policies if isinstance(policy, Logging))
        return policy.bodies

    monkeypatch.chdir(tmp_path)
    assert not bodies()
    assert bodies(logging={"bodies": True})
    (tmp_path / "headrace.toml").write_text("[logging]\nbodies = true\n")
    assert bodies()
    monkeypatch.setenv("HEADRACE_LOGGING_BODIES", "false")
    assert not bodies()


def test_unknown_setting_is_an_error() -> None:
    with pytest.raises(headrace.SettingsError, match="did you mean 'bodies'"):
        FakeEndpoint().client(None, logging={"body": True})
