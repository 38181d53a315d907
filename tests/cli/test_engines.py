"""`headrace run --engine`: a plugin's engine performs the run."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from headrace import Client, hookimpl
from headrace.bulk import Summary
from headrace.cli.main import cli
from headrace.cli.run import run
from headrace.pipeline.bulk_engines import Job

Install = Callable[..., None]


class Farm:
    """An engine that records its job and options."""

    def __init__(self, name: str = "farm", option: str = "--hands") -> None:
        self.name = name
        count = click.Option([option], type=int, default=2, help="How many.")
        self.options = [count, click.Option([f"{option}-too"], is_flag=True, help="Those as well.")]
        self.jobs: list[tuple[Job, dict[str, Any]]] = []

    def run(self, job: Job, options: Mapping[str, Any]) -> Summary:
        self.jobs.append((job, dict(options)))
        return Summary(total=7, succeeded=7, elapsed=1.0)


@pytest.fixture
def bring(install: Install, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install plugins with these engines."""

    def engines(*engines: object) -> None:
        def module(engine: object) -> ModuleType:
            made = ModuleType("plugin")
            made.headrace_engines = hookimpl(lambda: [engine])  # type: ignore[attr-defined]
            return made

        install(**{f"plugin{number}": module(engine) for number, engine in enumerate(engines)})
        monkeypatch.setattr(run, "_engines", None)
        monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")

    return engines


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["run", "in/*.parquet", "--out", "out/", "--model", "m", *arguments])


def test_an_engine_gets_the_job_and_its_own_options(bring: Callable[..., None]) -> None:
    farm = Farm()
    bring(farm)
    arguments: tuple[str, ...] = ("--prompt", "{a}", "--param", "seed=1", "--limit", "9")
    arguments += ("--messages", "chat", "--extra-body", "a.b=1", "--on-missing", "fail-row")
    arguments += ("--tag", "team=@team", "--priority", "@prio", "--system-file", "s.j2")
    result = invoke("--engine", "farm", "--hands", "5", *arguments)
    assert result.exit_code == 0, result.output
    assert "7 of 7 items done" in result.output
    ((job, options),) = farm.jobs
    assert options == {"hands": 5, "hands_too": False}
    assert (job.input, job.out, job.prompt, job.model) == ("in/*.parquet", "out/", "{a}", "m")
    assert (job.parameters, job.limit, job.max_in_flight) == ({"seed": 1}, 9, 100)
    assert (job.tags, job.priority, job.on_missing) == ({"team": "@team"}, "@prio", "fail-row")
    assert (job.messages, job.extra_body, job.system) == ("chat", {"a": {"b": 1}}, Path("s.j2"))
    client = pickle.loads(pickle.dumps(job.make_client))()
    assert isinstance(client, Client)
    assert client.settings.model == "m"


def test_a_job_file_goes_with_the_options_of_an_engine(
    bring: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = 'input = "in.csv"\nout = "out"\nmodel = "m"\n'
    Path("job.toml").write_text(f'{job}prompt = "{{a}}"\n')
    Path("steps.toml").write_text(f'{job}[[step]]\nname = "one"\nprompt = "{{a}}"\n')
    farm = Farm()
    bring(farm)
    result = CliRunner().invoke(cli, ["run", "job.toml", "--engine", "farm", "--hands", "5"])
    assert result.exit_code == 0, result.output
    assert (farm.jobs[0][0].prompt, farm.jobs[0][1]["hands"]) == ("{a}", 5)
    refused = CliRunner().invoke(cli, ["run", "steps.toml", "--engine", "farm", "--hands", "5"])
    assert "--engine farm: has no jobs with steps; leave it out" in refused.output
    assert (refused.exit_code, len(farm.jobs)) == (2, 1)


@pytest.mark.parametrize("arguments", [["--engine", "farm"], ["--engine=farm"], ["--hands", "3"]])
def test_help_with_an_engine_shows_its_options(bring: Callable[..., None], arguments: list[str]) -> None:
    bring(Farm())
    assert "--hands INTEGER" in CliRunner().invoke(cli, ["run", *arguments, "--help"]).output


def test_help_without_an_engine_loads_no_plugins() -> None:
    code = "import atexit, sys; atexit.register(lambda: print('LOADED', *sys.modules)); "
    code += "from headrace_command import main; sys.argv = ['headrace', 'run', '--help']; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    shown, _, loaded = done.stdout.partition("LOADED")
    assert "--engine NAME" in shown
    assert not {"headrace_retry", "importlib.metadata", "headrace.bulk"} & set(loaded.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "frame"], "no such engine; did you mean 'farm'"),
        (["--hands", "3", "--prompt", "x"], "--hands: only for --engine farm"),
        (["--hands", "2", "--prompt", "x"], "--hands: only for --engine farm"),
        (["--hands-too", "--prompt", "x"], "--hands-too: only for --engine farm"),
        (["--hand", "3"], "'--hands'"),
        (["--prompt", "x"], "in/*.parquet: No such file"),
        (["--engine", "farm", "--table", "t.csv"], "--engine: leave out --dry-run"),
        *(
            (["--engine", "farm", option, "9"], "--vote, --image, --file, --audio and --max-pixels")
            for option in ("--image", "--file", "--audio", "--max-pixels", "--samples")
        ),
        (
            ["--engine", "farm", "--only", "ids:f"],
            "--engine: leave out --dry-run, --out -, --table, --only ids",
        ),
    ],
)
def test_mistakes_with_an_engine_are_errors_before_anything_is_sent(
    bring: Callable[..., None], arguments: list[str], message: str
) -> None:
    farm = Farm()
    bring(farm)
    result = invoke(*arguments)
    assert (result.exit_code, message in result.output, farm.jobs) == (2, True, []), result.output


@pytest.mark.parametrize(
    ("engines", "message"),
    [
        ([5], "5 is not an engine"),
        ([Farm(), Farm(option="--feet")], "another plugin has an engine called 'farm'"),
        ([Farm(option="--limit")], "headrace run already has an option --limit"),
        ([Farm(), Farm("other")], "headrace run already has an option --hands"),
    ],
)
def test_invalid_engines_are_plugin_errors(
    bring: Callable[..., None], engines: list[object], message: str
) -> None:
    bring(*engines)
    result = invoke("--engine", "farm", "--prompt", "x")
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_without_plugins_there_is_no_engine(bring: Callable[..., None]) -> None:
    bring()
    result = invoke("--engine", "farm")
    assert result.exit_code == 2
    assert "--engine farm: no plugin with an engine is installed" in result.output
