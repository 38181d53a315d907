"""Mistakes on the command line: a one-line message that names options, and exit code 2."""

from __future__ import annotations

import errno
import io
import os
import re
import socket
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from headrace import errors
from headrace.cli.embed import embed
from headrace.cli.main import cli
from headrace.cli.option_names import CommandContext, with_options
from headrace.cli.run import run

URL = "http://127.0.0.1:9/v1"
RUN = ["run", "p.csv", "--out", "o.jsonl", "--prompt", "{name}", "--model", "m", "--base-url", URL]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "p.csv").write_text("id,name\n1,hose\n2,shears\n")
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_BASE_URL", "HEADRACE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="headrace")


MISTAKES = [
    ([*RUN, "--engine", "ray"], "headrace: --engine ray: not installed; pip install headrace-ray"),
    ([*RUN, "--param", "model=x"], "--param model: is not a parameter of the API; use --model"),
    ([*RUN, "--param", "max-in-flight=3"], "use --max-in-flight"),
    ([*RUN, "--param", "timeout=5"], "set HEADRACE_TIMEOUT"),
    ([*RUN, "--param", "api_key=sk-secret"], "set OPENAI_API_KEY"),
    ([*RUN, "--param", "messages=x"], "the prompt makes the messages"),
    (
        [*RUN, "--param", "temprature=1"],
        "--param temprature: is not a parameter of the API; did you mean",
    ),
    ([*RUN, "--param", "seed=1", "--param", "seed=2"], "--param seed: is given twice"),
    ([*RUN, "--param", "seed"], "--param 'seed': must be like temperature=0.3"),
    ([*RUN, "--deadline", "2"], "'2' has no unit: write 2s, 2m or 2h; see headrace run --help"),
    ([*RUN, "--wait-for-endpoint", "1.5"], "write 1.5s, 1.5m or 1.5h"),
    ([*RUN, "--budget", "much"], "'--budget': 'much': must be an amount in USD, like 5.00"),
    ([*RUN, "--budget", "-1"], "must be an amount in USD"),
    ([*RUN, "--max-in-flight", "many"], "'many' is not a valid integer"),
    (
        [*RUN, "--processes", "9", "--max-in-flight", "4"],
        "--processes 9: must be at least 1, and at most --max",
    ),
    ([*RUN, "--encoding", "cp1525"], "--encoding 'cp1525': is no encoding of text; did you mean 'cp1252'?"),
    ([*RUN, "--choices", "a,,b"], "headrace: --choices: one of them is empty"),
    ([*RUN, "--table", "t.xlsx"], "headrace: --table t.xlsx: must end in .csv or .parquet"),
    ([*RUN, "--sample", "3"], "headrace: --sample: needs --dry-run"),
    ([*RUN, "--verbos"], "no such option '--verbos'; did you mean '--verbose'?; see headrace run --help"),
    ([*RUN[:3], ".", *RUN[4:]], "headrace: .: is a directory; name a file in it"),
    (["run", "p.csv"], "headrace: missing option '--out'; see headrace run --help"),
    ([*RUN[:4], *RUN[8:], "--model", "m"], "p.csv: --prompt is missing"),
    ([*RUN[:6], *RUN[8:]], "headrace: no model: set --model, or HEADRACE_MODEL"),
    (["chat", "Hi", "--base-url", URL], "headrace: no model: set --model, or HEADRACE_MODEL"),
    (["plugin", "list"], "no such command 'list'; did you mean 'headrace plugins'"),
    (["plugins", "list"], "got unexpected extra argument (list); see headrace plugins --help"),
    (["rnu"], "headrace: no such command 'rnu'; did you mean 'run'?; see headrace --help"),
    (["serve", "--latency", "5"], "write 5s, 5m or 5h"),
    (["serve", "--key", "p.csv"], "--key: needs --certificate"),
    (["simulate"], "missing argument 'SCENARIO'"),
    (
        ["chat", "Hi", "--model", "m", "--base-url", "http://u:p@h/v1"],
        "--base-url contains a user name or password; set OPENAI_API_KEY instead",
    ),
    (["chat", "Hi", "--model", "m", "--base-url", "http://a.com/v1"], "HEADRACE_INSECURE=true"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_exits_with_2(arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.startswith("headrace: ")
    assert len(result.output.splitlines()) == 1
    assert "sk-" not in result.output
    for option in run.params:
        assert f" {option.name}=" not in result.output


@pytest.mark.parametrize(
    "path", ["/chat/completions", "/completions/", "/embeddings", "/responses", "/models"]
)
def test_a_base_url_of_one_call_is_found_before_anything_is_sent(path: str) -> None:
    result = invoke("chat", "Hi", "--model", "m", "--base-url", URL + path)
    assert result.exit_code == 2
    assert f"--base-url '{URL}{path}' must not include '{path.rstrip('/')}'; use '{URL}'" in result.output


def test_without_a_key_nothing_is_sent_to_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    result = invoke("chat", "Hi", "--model", "m", "--base-url", "https://api.openai.com/v1")
    assert result.exit_code == 2
    assert "OPENAI_API_KEY, or another --base-url" in result.output


def test_a_value_is_named_by_what_set_it(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "headrace.toml").write_text("max_in_flight = 0\n")
    assert "headrace: max_in_flight=0: must be" in invoke(*RUN).output
    monkeypatch.setenv("HEADRACE_MAX_IN_FLIGHT", "0")
    assert "headrace: HEADRACE_MAX_IN_FLIGHT=0: must be" in invoke(*RUN).output
    monkeypatch.delenv("HEADRACE_MAX_IN_FLIGHT")
    (folder / "headrace.toml").unlink()
    monkeypatch.setenv("OPENAI_BASE_URL", "ftp://host")
    result = invoke("chat", "Hi", "--model", "m")
    assert "headrace: OPENAI_BASE_URL 'ftp://host' must be like" in result.output


def test_a_missing_key_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    result = invoke("chat", "Hi", "--model", "m")
    assert result.exit_code == 2
    assert result.output.endswith("set OPENAI_API_KEY, or another --base-url\n")


def test_names_inside_quotes_are_left_alone() -> None:
    with run.make_context("run", ["p.csv", "--out", "o", "--limit", "3"]) as ctx:
        assert isinstance(ctx, CommandContext)
        assert with_options("'limit=3' and limit=3", ctx) == "'limit=3' and --limit 3"


def test_advice_about_another_command_names_its_option() -> None:
    ctx = click.Context(click.Command("ctl"))
    said = with_options('limit=3: run its command again with only="failed"', ctx)
    assert said == "limit=3: run its command again with --only failed"


def test_messages_in_commands_of_plugins_name_the_options_of_a_run() -> None:
    with cli.make_context("headrace", ["ctl", "out.jsonl", "pause"]) as ctx:
        message = 'max_in_flight=3: run its command again with only="failed", or set budget='
        assert with_options(message, ctx) == (
            "max_in_flight=3: run its command again with --only failed, or set --budget"
        )


def test_settings_of_a_plugin_that_is_not_installed_name_the_distribution(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("HEADRACE_RAY_ADDRESS", "auto")
    assert "unknown environment variable HEADRACE_RAY_ADDRESS; install headrace-ray" in invoke(*RUN).output
    monkeypatch.delenv("HEADRACE_RAY_ADDRESS")
    (folder / "headrace.toml").write_text("[ray]\nx = 1\n")
    assert "no plugin has settings called 'ray'; install headrace-ray" in invoke(*RUN).output


def test_a_latency_of_zero_needs_no_unit() -> None:
    ctx = click.Context(cli.commands["serve"])
    command = cli.commands["serve"]
    command.parse_args(ctx, ["--latency", "0"])
    assert ctx.params["latency"] == 0


def test_a_port_in_use_is_a_mistake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = invoke("serve", "--port", str(server.getsockname()[1]))
    assert result.exit_code == 2
    assert "Address already in use; port 0 takes a free one" in result.output
    assert len(result.output.splitlines()) == 1


SOURCE = Path(errors.__file__).parent


def test_messages_of_bulk_name_no_option() -> None:
    """Bulk runs are started from Python too; the command line turns names into options."""
    for path in (SOURCE / "bulk").rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "Error(" in line or re.match(r'\s*f?"(?!"")', line):
                assert not re.search(r"--(prompt|choices|schema|param|table|model|id-column)\b", line), line


def test_each_setting_in_a_message_of_bulk_becomes_an_option() -> None:
    with (
        run.make_context("run", ["p.csv", "--out", "o"]) as of_run,
        embed.make_context("embed", ["p.csv", "--out", "o", "--column", "c"]) as of_embed,
    ):
        for path in (SOURCE / "bulk").rglob("*.py"):
            ctx = of_embed if "embedding" in path.parts else of_run
            for name in re.findall(r'Error\(\s*f?"(\w+)=', path.read_text(encoding="utf-8")):
                assert with_options(f"{name}=: x", ctx).startswith("--"), name


class FullDisk(io.StringIO):
    """A standard output whose disk is full."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("arguments", [["plugins"], ["--version"], ["--help"], ["run", "--help"]])
def test_a_full_disk_of_the_output_is_one_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", FullDisk())
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments, prog_name="headrace")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "headrace: what it prints cannot be written: No space left on device\n"
