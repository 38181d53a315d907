"""The benchmarks over https use the protocols and policies that they name."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import question, server
from benchmarks.clients.headrace_map import read_answer
from benchmarks.measurement import KEY, body
from benchmarks.nginx import find_nginx
from benchmarks.policies import standard_policies
from benchmarks.question import Load, Question, Runner

import headrace

ROOT = Path(__file__).parents[2]
needs_nginx = pytest.mark.skipif(find_nginx() is None, reason="nginx or its echo module is not installed")

pytestmark = pytest.mark.anyio


def measure(script: str, file: Path, *arguments: str) -> dict[str, Any]:
    """Run a question quickly and return its result."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--quick", "--repeats", "1"]
    done = subprocess.run(
        [*command, "--json", str(file), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(file.read_text())
    return result


@needs_nginx
@pytest.mark.parametrize(("http2", "spoken"), [("auto", "HTTP/2"), (False, "HTTP/1.1")])
async def test_server_negotiates_the_protocol_with_each_client(
    http2: bool | Literal["auto"], spoken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.run_server([0], tls=True) as nginx:
        monkeypatch.setenv("SSL_CERT_FILE", str(nginx.certificates))
        async with headrace.Client(
            base_url=nginx.base_url(0, tls=True), api_key=KEY, policies=standard_policies(), http2=http2
        ) as client:
            reply = await client.request("POST", "/chat/completions", body(0))
        read_answer(reply).check()
        assert reply.http_version == spoken


@needs_nginx
def test_httpx_uses_http2_if_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    with server.run_server([0], tls=True) as nginx:
        monkeypatch.setenv("SSL_CERT_FILE", str(nginx.certificates))
        with httpx.Client(http2=True) as client:
            response = client.post(f"{nginx.base_url(0, tls=True)}/chat/completions", json=body(0))
        assert (response.status_code, response.http_version) == (200, "HTTP/2")
        plain = httpx.post(f"{nginx.base_url(0)}/chat/completions", json=body(0))
        assert (plain.status_code, plain.http_version) == (200, "HTTP/1.1")


@needs_nginx
def test_question_over_https_runs_quickly(tmp_path: Path) -> None:
    clients = "headrace,headrace-http1,floor-h2,httpx-h2"
    result = measure("tls.py", tmp_path / "tls.json", "--only", clients)
    assert not result["failures"]
    assert {row["name"] for row in result["rows"]} == {
        "headrace, map",
        "headrace, map, HTTP/1.1",
        "floor: Protocol, libnghttp2",
        "httpx, HTTP/2",
    }
    assert all(row["per_s"] > 0 for row in result["rows"])
    assert {target["text"].partition(",")[0] for target in result["targets"]} == {
        "CPU per call against the bare Protocol over libnghttp2"
    }


def test_steps_of_a_call_are_measured(tmp_path: Path) -> None:
    result = measure("https_steps.py", tmp_path / "steps.json")
    figures = {row["name"]: (row["http1_us"], row["alone_us"], row["many_us"]) for row in result["rows"]}
    *steps, together, _, _ = figures.values()
    assert all(figure > 0 for step in steps for figure in step)
    assert together == pytest.approx([sum(step) for step in zip(*steps, strict=True)], abs=0.1)


def test_loads_over_https_are_skipped_without_nginx(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads = [
        Load("in secret", 0, 1, 20, [Runner("floor", "asyncio")], tls=True),
        Load("in plain", 0, 1, 20, [Runner("floor", "asyncio")]),
    ]
    monkeypatch.setattr(server, "find_nginx", lambda: None)
    monkeypatch.setattr(sys, "argv", ["question", "--repeats", "1"])
    question.run_question(Question("throughput", "Without nginx", loads), "What is left?")
    output = capsys.readouterr().out
    assert "in secret: skipped; https needs nginx" in output
    assert "round 1: in plain" in output
    assert "round 1: in secret" not in output


def test_benchmarks_use_all_policies_of_the_standard_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = {name for name in project["optional-dependencies"]["standard"] if "[" not in name}
    assert {f"headrace-{policy.name}" for policy in standard_policies()} == brought
