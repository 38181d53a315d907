"""The endpoint over TLS: HTTP/2 and HTTP/1.1, faults, and temporary or own certificates."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trustme

from headrace import Client, ConnectError, IncompleteReply, SettingsError, TLSError
from headrace.testing.server import Behaviour, Certificate, endpoint_process, temporary_certificate
from headrace.testing.server.process import READY, EndpointProcess
from headrace.transports.native import NativeTransport

pytestmark = pytest.mark.anyio

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Tell me about rivers"}]}


def client_of(endpoint: EndpointProcess, **options: Any) -> Client:
    """A client without policies for an endpoint over TLS."""
    context = ssl.create_default_context(cafile=endpoint.authority)
    transport = NativeTransport(ssl_context=context, **options)
    return Client(base_url=endpoint.base_url, model="m", policies=[], timeout=20.0, transport=transport)


async def counts_of(url: str, context: ssl.SSLContext) -> dict[str, Any]:
    """The counts of an endpoint."""
    async with httpx.AsyncClient(verify=context, http2=True) as http:
        counts: dict[str, Any] = (await http.get(httpx.URL(url).join("/headrace/counts"))).json()
        return counts


async def test_endpoint_answers_over_http2_and_http1() -> None:
    texts: set[str] = set()
    async with endpoint_process(tls=True) as endpoint:
        for http2, spoken in ((True, "HTTP/2"), (False, "HTTP/1.1")):
            async with client_of(endpoint, http2=http2) as client:
                async with client.map(["Tell me about rivers"] * 50) as outcomes:
                    replies = [outcome.unwrap() async for outcome in outcomes]
                async with client.stream("Tell me about rivers") as stream:
                    texts.add("".join([piece.text async for piece in stream]))
            assert {reply.http_version for reply in replies} == {spoken}
            texts |= {reply.text for reply in replies}
    assert len(texts) == 1


@pytest.mark.parametrize("http2", [True, False])
@pytest.mark.parametrize("fault", ["reset", "stall"])
async def test_cut_answer_does_not_affect_other_answers(
    http2: bool, fault: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    cut: list[str] = []

    async def ask(client: Client, prompt: str) -> None:
        with suppress(IncompleteReply):
            await client.chat(prompt)
            return
        cut.append(prompt)

    async def stream(client: Client, prompt: str) -> None:
        with suppress(IncompleteReply):
            async with client.stream(prompt) as stream:
                async for _ in stream:
                    pass
            return
        cut.append(prompt)

    behaviour = Behaviour(errors=0.3, faults=[fault], stall=0.1)
    async with endpoint_process(behaviour, tls=True) as endpoint:
        async with client_of(endpoint, http2=http2) as client, anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(ask, client, f"Question {number}")
                group.start_soon(stream, client, f"Question {number}")
        context = ssl.create_default_context(cafile=endpoint.authority)
        counted = await counts_of(endpoint.base_url, context)
    assert counted["requests"] == 40
    assert counted["faults"] == {fault: len(cut)}
    assert len(cut) > 4
    assert capfd.readouterr().err == ""


async def test_statuses_and_quirks_work_over_tls() -> None:
    behaviour = Behaviour(api_key="sk-right", quirks=["think-block"])
    async with endpoint_process(behaviour, tls=True) as endpoint:
        context = ssl.create_default_context(cafile=endpoint.authority)
        async with httpx.AsyncClient(base_url=endpoint.base_url, verify=context, http2=True) as client:
            refused = await client.post("/chat/completions", json=CHAT)
            assert (refused.status_code, refused.http_version) == (401, "HTTP/2")
            key = {"authorization": "Bearer sk-right"}
            answered = await client.post("/chat/completions", json=CHAT, headers=key)
            assert "<think>" in answered.json()["choices"][0]["message"]["content"]


async def test_body_of_megabytes_is_received() -> None:
    async with endpoint_process(tls=True) as endpoint, client_of(endpoint) as client:
        reply = await client.chat("x" * 2_000_000)
        assert ((reply.usage and reply.usage.prompt_tokens) or 0) > 400_000


async def test_untrusting_client_leaves_no_trace(capfd: pytest.CaptureFixture[str]) -> None:
    async with (
        endpoint_process(tls=True) as endpoint,
        Client(base_url=endpoint.base_url, model="m", policies=[]) as client,
    ):
        with pytest.raises(TLSError, match="certificate"):
            await client.chat("Hello")
    assert capfd.readouterr().err == ""


async def test_requests_end_when_their_client_disconnects(capfd: pytest.CaptureFixture[str]) -> None:
    async with endpoint_process(Behaviour(latency=0.2), tls=True) as endpoint:
        context = ssl.create_default_context(cafile=endpoint.authority)
        for _ in range(2):
            transport = NativeTransport(ssl_context=context)
            async with (
                Client(base_url=endpoint.base_url, model="m", policies=[], transport=transport) as client,
                anyio.create_task_group() as group,
            ):
                for number in range(50):
                    group.start_soon(client.chat, f"Question {number}")
                while (await counts_of(endpoint.base_url, context))["in_flight"] == 0:
                    pass
                group.cancel_scope.cancel()
                await transport.aclose()
        with anyio.fail_after(10):
            while (await counts_of(endpoint.base_url, context))["in_flight"]:
                pass
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_stops_it_cleanly_with_requests_in_flight(
    number: signal.Signals,
) -> None:
    with temporary_certificate() as certificate:
        command = [sys.executable, "-m", "headrace.testing.server", "--port=0", "--latency=1h"]
        command.append(f"--certificate={certificate.chain}")
        context = ssl.create_default_context(cafile=certificate.authority)
        async with await anyio.open_process(command, stdin=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            url = (await process.stdout.receive()).decode().removeprefix(READY).strip()
            endpoint = EndpointProcess(url, process.pid, certificate.authority)
            async with client_of(endpoint) as client, anyio.create_task_group() as group:

                async def ask() -> None:
                    with pytest.raises(ConnectError):
                        await client.chat("Hello")

                group.start_soon(ask)
                while (await counts_of(url, context))["in_flight"] == 0:
                    pass
                process.send_signal(number)
                with anyio.fail_after(10):
                    assert await process.wait() == 0
            with pytest.raises(anyio.EndOfStream):
                await process.stderr.receive()


def test_temporary_certificate_is_deleted_after_its_block() -> None:
    with temporary_certificate("endpoint.test") as certificate:
        assert Path(certificate.authority).exists()
        assert "PRIVATE" not in Path(certificate.authority).read_text()
    assert not Path(certificate.authority).parent.exists()


def test_unusable_certificate_error_names_its_files(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("a.example")
    other = trustme.CA().issue_cert("b.example")
    chain, key, garbage = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "garbage.pem"
    issued.cert_chain_pems[0].write_to_path(str(chain))
    other.private_key_pem.write_to_path(str(key))
    garbage.write_text("not a certificate")
    for files in [(chain, key), (chain, None), (garbage, key), (tmp_path / "missing.pem", None)]:
        with pytest.raises(SettingsError, match=str(files[0])):
            Certificate(str(files[0]), None if files[1] is None else str(files[1])).context()


def test_key_with_a_passphrase_is_rejected_without_a_prompt(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    issued = trustme.CA().issue_cert("a.example")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    chain = tmp_path / "chain.pem"
    chain.write_bytes(encrypted + issued.cert_chain_pems[0].bytes())
    with pytest.raises(SettingsError, match="passphrase"):
        Certificate(str(chain)).context()
