"""Calls against a third-party server: aimock from npm, over real sockets and in real time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import headrace
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_logging import Logging
from headrace_retry import Retry

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent / "aimock"
PROGRAM = HERE / "node_modules/@copilotkit/aimock/dist/cli.js"
KEY = "sk-right"

Mock = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def aimock() -> Mock:
    """Starts aimock with options; a context manager that gives its base URL."""
    if not PROGRAM.exists():
        # CI installs it. There a missing server must be a failure.
        assert not os.environ.get("CI"), "aimock is not installed: npm install --prefix tests/foreign/aimock"
        pytest.skip("npm install --prefix tests/foreign/aimock")

    @contextmanager
    def start(*options: str) -> Iterator[str]:
        command = ["node", str(PROGRAM), "-p", "0", "-f", str(HERE / "fixtures.json"), *options]
        with subprocess.Popen(
            command,
            env=os.environ | {"AIMOCK_API_KEYS": KEY},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    if "listening on" in line:
                        break
                else:
                    pytest.fail("aimock did not start")
                yield line.rpartition(" ")[2].strip() + "/v1"
            finally:
                process.terminate()
                process.communicate(timeout=30)

    return start


def all_four(attempts: int = 3) -> list[headrace.Policy]:
    return [Logging(), Cost(), Retry(attempts=attempts, base=0.01), Breaker(failure_rate=0.99)]


@pytest.mark.parametrize("transport", ["native", "httpx"])
async def test_calls_embeddings_and_errors(aimock: Mock, transport: str) -> None:
    with aimock() as url:
        async with headrace.Client(
            base_url=url, api_key=KEY, model="gpt-4.1", policies=all_four(), transport=transport
        ) as client:
            reply = await client.chat("Hallo", temperature=0.3, max_tokens=100)
            assert reply.text == "Guten Tag!"
            assert reply.usage is not None
            assert reply.usage.prompt_tokens
            assert reply.usage.completion_tokens
            assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
            assert reply.cost is not None
            assert reply.request_id

            embeddings = await client.request("POST", "/embeddings", {"input": "Hallo"})
            assert embeddings.body["data"][0]["embedding"] == [0.5, -0.5, 0.25]

            with pytest.raises(headrace.RateLimited, match="quota") as quota:
                await client.chat("quota")
            assert quota.value.attempts == 1, "a retry cannot help if there is no credit"

        async with headrace.Client(
            base_url=url, api_key="sk-wrong", model="m", transport=transport
        ) as client:
            with pytest.raises(headrace.AuthenticationError) as refused:
                await client.chat("Hallo")
            assert "sk-wrong" not in str(refused.value)


async def test_five_hundred_calls_succeed_in_spite_of_its_faults(aimock: Mock) -> None:
    with aimock("--chaos-disconnect", "0.1", "--chaos-malformed", "0.1", "--chaos-drop", "0.1") as url:
        async with (
            headrace.Client(
                base_url=url, api_key=KEY, model="gpt-4.1", max_in_flight=50, policies=all_four(attempts=12)
            ) as client,
            client.map(["Hallo"] * 500) as outcomes,
        ):
            found = [outcome async for outcome in outcomes]
    assert {outcome.error for outcome in found} == {None}
    assert {outcome.unwrap().text for outcome in found} == {"Guten Tag!"}
    assert sum(outcome.attempts for outcome in found) > 550, "aimock injected no fault"


async def test_retry_after_is_respected(aimock: Mock) -> None:
    with aimock("--chaos-ratelimit", "0.5") as url:
        async with (
            headrace.Client(
                base_url=url, api_key=KEY, model="gpt-4.1", policies=all_four(attempts=20)
            ) as client,
            client.map(["Hallo"] * 20) as outcomes,
        ):
            found = [outcome async for outcome in outcomes]
    assert all(outcome.ok for outcome in found), [outcome.error for outcome in found]
    limited = [outcome for outcome in found if outcome.attempts > 1]
    assert limited
    for outcome in limited:
        assert outcome.elapsed >= 1.0 * (outcome.attempts - 1), "aimock says Retry-After: 1"


async def test_a_connection_closed_by_aimock_while_idle_is_replaced(aimock: Mock) -> None:
    with aimock() as url:
        async with headrace.Client(base_url=url, api_key=KEY, model="gpt-4.1", policies=[]) as client:
            reply = await client.chat("Hallo")
            assert reply.headers["keep-alive"] == "timeout=5"
            await anyio.sleep(6)
            assert (await client.chat("Hallo")).attempts == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_is_called_and_the_conversation_continues(aimock: Mock, streamed: bool) -> None:
    def weather(city: str, days: int) -> str:
        """The weather of a city."""
        return f"{city}: {days} days of rain"

    tools = headrace.Tools(weather)
    messages: list[Any] = [{"role": "user", "content": "weather in Kiel?"}]
    with aimock() as url:
        async with headrace.Client(base_url=url, api_key=KEY, model="gpt-4.1", policies=[]) as client:
            if streamed:
                async with client.stream(messages, tools=tools) as stream:
                    async for _ in stream:
                        pass
                reply = stream.reply
            else:
                reply = await client.chat(messages, tools=tools)
            (call,) = tools.calls(reply)
            assert call() == "Kiel: 2 days of rain"
            messages += [reply.message, call.result(call())]
            last = await client.chat(messages, tools=tools)
    assert (last.text, tools.calls(last)) == ("Rain in Kiel.", [])
