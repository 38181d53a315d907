"""`headrace demo`, `plugins`, `serve`, `chat`, and the help and errors of the command group."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest


def test_the_demo_needs_no_key_and_no_network_and_leaves_no_files(in_process: Any) -> None:
    result = in_process.run("demo", OPENAI_API_KEY="", OPENAI_BASE_URL="")
    assert result.code == 0, result.err
    assert "the model is simulated" in result.err
    assert "Policies: logging, otel, cost, repair, retry, breaker, pace" in result.err
    assert "240 of 240 items done" in result.out
    assert "240 succeeded, 0 failed" in result.out
    assert ", 0 retries" not in result.out, "the demo shows that faults are retried"
    assert "cost       $0.0" in result.out
    assert "Bücher" in result.out
    assert list(in_process.folder.iterdir()) == []


def test_plugins_lists_version_stage_and_settings(in_process: Any) -> None:
    result = in_process.run("plugins", HEADRACE_RETRY_ATTEMPTS="7")
    assert result.code == 0, result.err
    for line in (
        "breaker  headrace-breaker 0.1.0",
        "  policy breaker, stage PROTECT",
        "  policy cost, stage ACCOUNT",
        "  policy logging, stage OBSERVE",
        "  policy retry, stage PERSIST",
        "    attempts = 7",
    ):
        assert line in result.out.splitlines()
    assert "cache  headrace-cache 0.1.0\n  no policy, with the current settings\n" in result.out


def test_serve_has_the_api_and_exits_cleanly(serving: Callable[..., Any]) -> None:
    with serving("--seed", "7") as url:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hallo"}]}
        answer = httpx.post(f"{url}/chat/completions", json=body, trust_env=False).json()
        usage = answer["usage"]
        assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
        assert httpx.get(f"{url}/models", trust_env=False).json()["object"] == "list"


def test_serve_on_a_port_in_use_exits_with_2(in_process: Any, endpoint: str) -> None:
    port = endpoint.rpartition(":")[2].removesuffix("/v1")
    result = in_process.run("serve", "--port", port)
    assert result.code == 2
    assert "Address already in use; port 0 takes a free one" in result.err


def test_invalid_quantities_are_named(in_process: Any) -> None:
    for option, value in (("--latency", "5x"), ("--errors", "200%"), ("--rate-limit", "0/s")):
        result = in_process.run("serve", option, value)
        assert result.code == 2
        assert f"invalid value for '{option}'" in result.err


def test_help_has_examples_and_unknown_commands_name_the_nearest(in_process: Any) -> None:
    assert "headrace run products.csv" in in_process.run("run", "--help").out
    assert "headrace 0.1.0" in in_process.run("--version").out.replace(", version", "")
    unknown = in_process.run("rum")
    assert unknown.code == 2
    assert "did you mean 'run'?" in unknown.err


def test_without_click_the_command_names_what_to_install() -> None:
    program = "import sys; sys.modules['click'] = None; from headrace_command import main; main()"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "headrace: the command line is not installed; pip install 'headrace[standard]'\n"


def test_chat_prints_the_answer_its_time_and_cost(in_process: Any, endpoint: str) -> None:
    options = ("--model", "deepseek-v3.2", "--system", "Be brief.", "--param", "seed=1")
    result = in_process.run("chat", "What is a headrace?", *options)
    assert result.code == 0, result.err
    body = {
        "model": "deepseek-v3.2",
        "seed": 1,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is a headrace?"},
        ],
    }
    whole = httpx.post(f"{endpoint}/chat/completions", json=body, trust_env=False).json()
    assert result.out == whole["choices"][0]["message"]["content"] + "\n"
    assert f"{whole['usage']['prompt_tokens']} + {whole['usage']['completion_tokens']} tokens" in result.err
    assert "· $0.0" in result.err
    quiet = in_process.run("chat", "-", "--quiet", *options, input="What is a headrace?")
    assert (quiet.code, quiet.out, quiet.err) == (0, result.out, "")


def test_chat_errors_are_one_line(in_process: Any) -> None:
    for arguments, code, message in (
        (("Hallo",), 2, "no model"),
        (("Hallo", "--model", "m", "--param", "temprature=1"), 2, "did you mean 'temperature'"),
        (("Hallo", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"), 1, "is the endpoint running"),
    ):
        result = in_process.run("chat", *arguments, HEADRACE_RETRY_ATTEMPTS="1")
        assert result.code == code, result.err
        assert message in result.err
        assert len(result.err.splitlines()) == 1


def test_serve_over_tls_prints_how_to_call_it(headrace: Any) -> None:
    with headrace.start("serve", "--tls", "--port", "0") as process:
        try:
            lines = [process.stdout.readline() for _ in range(3)]
            url = lines[0].removeprefix("Simulated endpoint at ").strip()
            assert url.startswith("https://127.0.0.1:")
            variables = dict(word.split("=", 1) for word in lines[2].split() if "=" in word)
            assert variables["OPENAI_BASE_URL"] == url
            chat = headrace.run("chat", "Hallo", "--model", "any", **variables)
            assert chat.code == 0, chat.err
            assert "simulated" in chat.out
            for host in ("localhost", "127.0.0.1"):
                context = ssl.create_default_context(cafile=variables["SSL_CERT_FILE"])
                with httpx.Client(verify=context, http2=True, trust_env=False) as client:
                    answer = client.get(f"{url.replace('127.0.0.1', host)}/models")
                assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--certificate", "garbage.pem"), "--certificate: needs --tls"),
        (("--tls", "--key", "garbage.pem"), "--key: needs --certificate"),
        (("--tls", "--certificate", "garbage.pem"), "garbage.pem"),
        (("--tls", "--certificate", "missing.pem"), "missing.pem"),
    ],
)
def test_certificate_mistakes_of_serve_are_named(
    in_process: Any, options: tuple[str, ...], message: str
) -> None:
    (in_process.folder / "garbage.pem").write_text("garbage")
    result = in_process.run("serve", *options)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("missing", ["hypercorn.config", "trustme"])
def test_serve_over_tls_names_what_to_install(headrace: Any, missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from headrace_command import main; main()"
    command = [sys.executable, "-c", program, "serve", "--tls"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "pip install 'headrace[serve-tls]'" in result.stderr
    assert "Traceback" not in result.stderr
