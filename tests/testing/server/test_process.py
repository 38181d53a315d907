"""The endpoint as a separate process, over real sockets."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import anyio
import httpx
import pytest

from headrace.testing.server import Behaviour, endpoint_process
from headrace.testing.server.process import READY

pytestmark = pytest.mark.anyio

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Tell me about rivers"}]}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def has_ended(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


async def test_process_reuses_a_connection_and_ends_after_its_block() -> None:
    async with endpoint_process() as endpoint, httpx.AsyncClient(base_url=endpoint.base_url) as client:
        replies = [await client.post("/chat/completions", json=CHAT) for _ in range(3)]
        assert [reply.status_code for reply in replies] == [200] * 3
        assert len({reply.content for reply in replies}) == 1
    assert has_ended(endpoint.pid)


async def test_stream_arrives_event_by_event() -> None:
    async with (
        endpoint_process(Behaviour(latency=1.0)) as endpoint,
        httpx.AsyncClient(base_url=endpoint.base_url) as client,
    ):
        async with client.stream("POST", "/chat/completions", json=CHAT | {"stream": True}) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            arrived = [(anyio.current_time(), line) async for line in reply.aiter_lines()]
        # The events are spread over half of the latency; a tenth of it is enough for a slow machine.
        assert arrived[-1][0] - arrived[0][0] >= 0.1
        assert arrived[-2][1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [False, True])
async def test_reset_cuts_the_body_without_a_traceback(
    stream: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    async with (
        endpoint_process(Behaviour(errors=1.0, faults=["reset"])) as endpoint,
        httpx.AsyncClient(base_url=endpoint.base_url) as client,
    ):
        received = bytearray()

        async def ask() -> None:
            async with client.stream("POST", "/chat/completions", json=CHAT | {"stream": stream}) as reply:
                assert reply.status_code == 200
                async for chunk in reply.aiter_raw():
                    received.extend(chunk)

        with pytest.raises(httpx.RemoteProtocolError):
            await ask()
        assert received
    assert capfd.readouterr().err == ""


async def test_stall_does_not_delay_the_stop(capfd: pytest.CaptureFixture[str]) -> None:
    with anyio.fail_after(20):
        async with (
            endpoint_process(Behaviour(errors=1.0, faults=["stall"], stall=3600)) as endpoint,
            httpx.AsyncClient(base_url=endpoint.base_url, timeout=0.3) as client,
        ):
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/chat/completions", json=CHAT)
    assert has_ended(endpoint.pid)
    assert capfd.readouterr().err == ""


async def test_process_gets_the_key() -> None:
    async with (
        endpoint_process(Behaviour(api_key="sk-right")) as endpoint,
        httpx.AsyncClient(base_url=endpoint.base_url) as client,
    ):
        assert (await client.get("/models")).status_code == 401
        right = await client.get("/models", headers={"authorization": "Bearer sk-right"})
        assert right.status_code == 200


async def test_five_hundred_concurrent_connections_are_answered() -> None:
    answers: list[bytes] = []
    async with endpoint_process(Behaviour(latency=0.5)) as endpoint:
        url = httpx.URL(endpoint.base_url)
        content = httpx.Request("POST", url, json=CHAT).content
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-length: {len(content)}\r\n\r\n"

        async def ask() -> None:
            async with await anyio.connect_tcp(url.host, url.port or 0) as stream:
                await stream.send(head.encode() + content)
                answers.append(await stream.receive(12))

        # Without httpx, because its pool would limit the connections.
        async with anyio.create_task_group() as tasks:
            for _ in range(500):
                tasks.start_soon(ask)
    assert answers == [b"HTTP/1.1 200"] * 500


async def test_cancelled_block_leaves_no_process() -> None:
    pid = 0
    with anyio.CancelScope() as scope:
        async with endpoint_process(Behaviour(latency=3600)) as endpoint:
            pid = endpoint.pid
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert has_ended(pid)


async def test_requests_in_flight_do_not_delay_the_stop(capfd: pytest.CaptureFixture[str]) -> None:
    with anyio.fail_after(20):
        async with endpoint_process(Behaviour(latency=3600)) as endpoint:
            client = httpx.AsyncClient(base_url=endpoint.base_url)
            async with client, anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: client.post("/chat/completions", json=CHAT, timeout=None))
                counts = httpx.URL(endpoint.base_url).join("/headrace/counts")
                while (await client.get(counts)).json()["in_flight"] == 0:
                    pass
                tasks.cancel_scope.cancel()
    assert has_ended(endpoint.pid)
    assert capfd.readouterr().err == ""


async def test_failed_start_error_contains_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "python3")
    monkeypatch.setenv("PYTHONHOME", os.devnull)
    with pytest.raises(
        RuntimeError, match=r"did not start: it ended before it was ready\n(.*\n)*.*encodings"
    ):
        async with endpoint_process():
            raise AssertionError("it started")


async def test_slow_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.testing.server.process._START_LIMIT", 0.0)
    with pytest.raises(RuntimeError, match="was not ready within 0 s"):
        async with endpoint_process():
            raise AssertionError("it started")


async def test_process_that_ignores_the_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.testing.server.process._STOP_LIMIT", 0.5)
    async with endpoint_process() as endpoint:
        os.kill(endpoint.pid, signal.SIGSTOP)
    assert has_ended(endpoint.pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_stops_it_cleanly(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "headrace.testing.server", "--port=0"]
    async with await anyio.open_process(command, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert (await process.stdout.receive()).decode().startswith(READY)
        process.send_signal(number)
        assert await process.wait() == 0
        with pytest.raises(anyio.EndOfStream):
            await process.stderr.receive()


async def test_process_ends_with_its_parent() -> None:
    command = [sys.executable, "-m", "headrace.testing.server", "--port=0", "--until-stdin-closes"]
    async with await anyio.open_process(command) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert (await process.stdout.receive()).decode().startswith(READY)
        await process.stdin.aclose()
        with anyio.fail_after(20):
            assert await process.wait() == 0


async def test_port_in_use_is_a_one_line_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "headrace.testing.server", f"--port={port}"]
        finished = await anyio.run_process(command, check=False)
    assert finished.returncode == 1
    [line] = finished.stderr.decode().splitlines()
    assert f"cannot listen at 127.0.0.1 port {port}" in line
