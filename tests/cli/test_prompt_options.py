"""The options of `headrace run` that make the request of a row."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from tests.cli.conftest import CommandInProcess

from headrace.cli.main import cli
from headrace.cli.run import run

URL = "http://127.0.0.1:9/v1"
RUN = ["run", "rows.csv", "--out", "o.jsonl", "--base-url", URL]
MODEL = ["--model", "m"]
ASK = ["--prompt", "Sort {name}", *MODEL]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rows.csv").write_text(
        "id,name,lang,temp,tenant,prio\n1,hose,German,0.3,acme,5\n2,shears,French,,,\n"
    )
    (tmp_path / "ask.txt").write_bytes(b"\xef\xbb\xbfSort {name}\n")
    (tmp_path / "ask.j2").write_text("Sort {{ name | upper }}{% if temp %} at {{ temp }}{% endif %}\n")
    (tmp_path / "broken.j2").write_text("Sort\n{% if name %}\n")
    (tmp_path / "fixed.txt").write_text("Sort it")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "examples.csv").write_text("name,answer\nrake,Garten\n")
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_BASE_URL", "HEADRACE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    return tmp_path


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*RUN, *arguments], prog_name="headrace")
    return result.exit_code, result.output


REFUSALS = [
    ([*ASK, "--samples", "129"], "--samples 129: must be a number of answers from 1 to 128"),
    ([*ASK, "--vote"], "--vote: needs --samples, the number of answers for each row"),
    ([*ASK, "--samples", "3", "--vote"], "--vote: needs --choices, because it counts equal answers"),
    (
        [*ASK, "--samples", "3", "--param", "n=2"],
        "--samples: sets the parameter n; leave n out of --param",
    ),
    (
        [*ASK, "--samples", "3", "--extra-body", "n=2"],
        "--samples: sets the parameter n; leave n out of --extra-body",
    ),
    (
        [*ASK, "--samples", "3", "--dry-run", "--sample", "1"],
        "--sample: leave out --samples; an endpoint may need several requests for a row",
    ),
    (
        ["--prompt", "@ask.txt", *MODEL],
        "--prompt '@ask.txt' is text, not the name of a file; to read the file, use --prompt-file",
    ),
    (
        [*ASK, "--system", "@ask.txt"],
        "--system '@ask.txt' is text, not the name of a file; to read the file, use --system-file",
    ),
    (["--prompt", "", *MODEL], "--prompt: is empty; write what to ask about a row"),
    ([*ASK, "--system", ""], "--system: is empty; leave it out, or write some text"),
    (["--prompt-file", "empty.txt", *MODEL], "empty.txt: is empty; write what to ask about a row"),
    (
        ["--prompt-file", "fixed.txt", *MODEL],
        "fixed.txt: names no column, so all rows would get the same prompt; "
        "name one, like {name} for the column 'name'",
    ),
    (["--prompt-file", "none.txt", *MODEL], "none.txt: No such file or directory"),
    (
        [*ASK, "--prompt-file", "ask.txt"],
        "--prompt and --prompt-file both set the prompt; leave out one of them",
    ),
    (
        [*ASK, "--system", "a", "--system-file", "ask.txt"],
        "--system and --system-file both set the system message; leave out one of them",
    ),
    (
        ["--prompt", "Sort it", *MODEL],
        "--prompt: names no column, so all rows would get the same prompt; "
        "name one, like {name} for the column 'name'",
    ),
    (
        ["--prompt-file", "broken.j2", *MODEL],
        "broken.j2:2: Unexpected end of template. Jinja was looking for the following tags: 'elif' or 'else' "
        "or 'endif'. The innermost block that needs to be closed is 'if'.",
    ),
    (
        ["--prompt", "Sort {{ name", "--template", "jinja", *MODEL],
        "--prompt, line 1: unexpected end of template, expected 'end of print statement'.",
    ),
    (
        [*ASK[:2], "--model", "m-{lang}"],
        "--model 'm-{lang}': a model is not a template; "
        "if the column 'lang' has the models, name it with --model-column",
    ),
    (
        [*ASK[:2], "--model", "text-embedding-3-small"],
        "--model 'text-embedding-3-small': is an embedding model, which cannot answer a prompt; "
        "name a chat model, or use headrace embed",
    ),
    (
        [*ASK, "--param", "temperature={temp}"],
        "--param: temperature is '{temp}', but a parameter is not a template; "
        "write @temp for the value of a column",
    ),
    (
        [*ASK, "--param", "temperature=@tmp"],
        "rows.csv:2: no column 'tmp' for the parameter temperature; did you mean 'temp'?",
    ),
    ([*ASK, "--system", "{lng}"], "rows.csv:2: no column 'lng' for the system message; did you mean 'lang'?"),
    ([*ASK, "--messages", "chat"], "rows.csv:2: no column 'chat' for the messages; "),
    (
        [*ASK, "--model-column", "tenants"],
        "rows.csv:2: no column 'tenants' for the model; did you mean 'tenant'?",
    ),
    ([*ASK, "--priority", "high"], "--priority 'high': must be an integer, or @ and the name of a column"),
    ([*ASK, "--priority", "@pri"], "rows.csv:2: no column 'pri' for the priority; did you mean 'prio'?"),
    ([*ASK, "--tag", "team"], "--tag 'team': must be like team=shop"),
    ([*ASK, "--tag", "a=b", "--tag", "a=c"], "--tag a: is given twice"),
    (
        [*ASK, "--param", "extra_body={}"],
        "--param extra_body: is not a parameter of the API; use --extra-body",
    ),
    ([*ASK, "--extra-body", "top_k"], "--extra-body 'top_k': must be like top_k=40"),
    (
        [*ASK, "--extra-body", "a=False"],
        "--extra-body a=False: the value is not JSON; write true, 0.5 or '\"text\"'",
    ),
    ([*ASK, "--extra-body", "a=1", "--extra-body", "a=2"], "--extra-body a: is given twice"),
    (
        [*ASK, "--extra-body", "a=1", "--extra-body", "a.b=2"],
        "--extra-body a.b: a has another value already; leave out one",
    ),
    ([*ASK, "--extra-body", "a..b=1"], "--extra-body a..b: a name between the dots is missing"),
    (
        [*ASK, "--extra-body", "seed=1", "--param", "seed=1"],
        "--extra-body: seed is in --param too; leave it out here",
    ),
    ([*ASK, "--on-missing", "skip"], "invalid value for '--on-missing': 'skip' is not one of 'refuse', "),
    (
        ["--messages", "name", "--examples", "examples.csv", *MODEL],
        "--examples: need --prompt, which makes their questions",
    ),
    (
        [*ASK, "--examples", "rows.csv"],
        "rows.csv:2: an example needs a column 'answer' that is not empty",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSALS)
def test_a_mistake_is_one_line_before_anything_is_sent(arguments: list[str], message: str) -> None:
    code, output = invoke(*arguments)
    assert code == 2
    if message.endswith((" ", ",")):
        assert output.startswith(f"headrace: {message}")
    else:
        assert output == f"headrace: {message}\n"
    assert len(output.splitlines()) == 1
    assert not Path("o.jsonl").exists()


def test_an_unknown_parameter_names_extra_body() -> None:
    _, output = invoke(*ASK, "--param", "top_k=40")
    assert "; --extra-body top_k=… sends a member that only your endpoint has\n" in output


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--prompt-file", "ask.txt"], ["user: Sort hose", '({"model":"m"})']),
        (["--prompt-file", "ask.j2"], ["user: Sort HOSE at 0.3", '({"model":"m"})']),
        (
            ["--prompt", "Sort {{ name }}", "--template", "jinja", "--system-file", "ask.j2"],
            ["system: Sort HOSE at 0.3", "user: Sort hose"],
        ),
        (
            ["--prompt", "Sort {name}", "--examples", "examples.csv"],
            ["user: Sort rake", "assistant: Garten", "user: Sort hose"],
        ),
        (
            ["--prompt", "{name}", "--param", "temperature=@temp", "--param", 'user="@@me"'],
            ['({"model":"m","user":"@me","temperature":0.3})'],
        ),
        (["--prompt", "{name}", "--samples", "3"], ['({"model":"m","n":3})']),
        (["--prompt", "{name}", "--model-column", "tenant"], ['({"model":"acme"})']),
        (
            ["--prompt", "{name}", "--extra-body", "a.b.c=false", "--extra-body", 'a.d="x"'],
            ['({"model":"m","a":{"b":{"c":false},"d":"x"}})'],
        ),
    ],
)
def test_a_dry_run_shows_the_request_of_a_row(arguments: list[str], shown: list[str]) -> None:
    code, output = invoke(*MODEL, *arguments, "--dry-run")
    assert code == 0, output
    first = output.partition("--- 2")[0].splitlines()
    assert first[1 : len(shown) + 1] == shown or first[-len(shown) :] == shown


def test_a_dry_run_shows_rows_that_would_fail() -> None:
    Path("rows.csv").write_text("id,name,temp\n1,hose,hot\n2,shears,1\n3,pot,cold\n")
    code, output = invoke(*ASK, "--param", "temperature=@temp", "--dry-run")
    reason = "rows.csv:2: column 'temp': 'hot' cannot be the parameter temperature, which must be a number"
    assert code == 0
    assert f"--- 1\nwould fail: {reason}\n--- 2\nuser: Sort shears\n" in output
    assert f"1 request would be sent to {URL}; nothing was.\n2 items would fail without a call; " in output
    assert f"first: {reason}\n" in output


def test_a_dry_run_shows_messages_with_parts() -> None:
    image = {"type": "image_url", "image_url": {"url": "http://localhost/a.png"}}
    chat = [{"role": "user", "content": [image]}, {"role": "assistant", "content": None, "tool_calls": []}]
    Path("rows.csv").write_text(json.dumps({"id": "1", "chat": chat}))
    _, output = invoke("--messages", "chat", *MODEL, "--dry-run")
    assert "user: [image: http://localhost/a.png]\n" in output
    assert 'assistant: {"content":null,"tool_calls":[]}\n' in output


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_sends_what_the_rows_say_and_fails_bad_rows_alone(
    in_process: CommandInProcess,
    lines_of: Callable[[str], list[dict[str, Any]]],
    folder: Path,
    processes: str,
) -> None:
    (folder / "rows.jsonl").write_text(
        '{"id": "a", "chat": [{"role": "user", "content": "Hi"}], "tenant": "acme"}\n'
        '{"id": "b", "chat": "[]", "tenant": "acme"}\n'
        '{"id": "c", "tenant": "acme"}\n'
    )
    result = in_process.run(
        *("run", "rows.jsonl", "--out", "out.jsonl", "--model", "m", "--messages", "chat"),
        *("--on-missing", "fail-row", "--tag", "tenant=@tenant", "--processes", processes),
    )
    assert result.code == 1, result.err
    assert "1 succeeded, 2 failed" in result.out
    assert "2 input_error: rows.jsonl:" in result.out
    lines = {line["custom_id"]: line for line in lines_of("out.jsonl")}
    assert lines["a"]["error"] is None
    assert lines["b"]["error"]["message"] == (
        "rows.jsonl:2: column 'chat' must hold a list of messages; it is empty"
    )
    assert lines["c"]["error"]["message"].startswith("rows.jsonl:3: no column 'chat' for the messages; ")


def test_a_sample_counts_rows_that_fail(in_process: CommandInProcess, folder: Path) -> None:
    (folder / "rows.csv").write_text("id,name,temp\n1,hose,hot\n2,shears,1\n")
    result = in_process.run(
        *("run", "rows.csv", "--out", "out.jsonl", *ASK, "--param", "temperature=@temp", "--dry-run"),
        *("--sample", "2"),
    )
    assert result.code == 0, result.err
    assert "1 succeeded, 1 failed" in result.out
    assert "rows.csv:2: column 'temp': 'hot' cannot be the parameter temperature" in result.out


def test_the_help_has_each_option_in_one_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_engines", None)  # another test may have loaded those of plugins,
    monkeypatch.setattr(run, "_help_option", None)  # and asked for the help without the group of commands
    output = CliRunner().invoke(cli, ["run", "--help"], prog_name="headrace").output
    headings = re.findall(r"^([A-Z][a-z ]+):$", output, re.MULTILINE)
    assert headings == [
        *("Input and output", "Resuming", "Prompt", "Answer", "Model and parameters", "Endpoint and limits"),
        *("How it runs", "Options"),
    ]
    options = [each for each in run.params if isinstance(each, click.Option)]
    for option in options:
        shown = rf"^  (-\w, )?{re.escape(option.opts[-1])}(?= )"
        assert len(re.findall(shown, output, re.MULTILINE)) == 1, option.opts
    assert output.rpartition("Options:\n")[2].strip() == "-h, --help  Show this message and exit."
