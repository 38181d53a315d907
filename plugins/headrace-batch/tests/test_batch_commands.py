"""``headrace run --engine batch`` and ``headrace batch``."""

from __future__ import annotations

import shlex
from pathlib import Path

import anyio.from_thread
import pytest
from click.testing import CliRunner, Result

from batch_runs import lines_of
from headrace.cli.main import cli
from headrace.testing.server import Behaviour, endpoint_process


def invoke(command: str) -> Result:
    return CliRunner().invoke(cli, shlex.split(command))


def test_a_run_is_left_looked_at_fetched_and_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("id,name\n" + "".join(f"r{number},n{number}\n" for number in range(6)))
    run = 'run in.csv --model m --prompt "Sort {name}" --engine batch --batch-max-requests 4 --batch-poll 0.2'

    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(endpoint_process(Behaviour(batch_time=2.0))) as endpoint,
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        monkeypatch.setattr("sys.argv", ["headrace", *shlex.split(f"{run} --out out.jsonl --detach")])
        left = invoke(f"{run} --out out.jsonl --detach")
        assert (left.exit_code, "2 batches with 6 rows go on" in left.output) == (0, True), left.output
        assert "part 1: 4 rows, " in invoke("batch status out.jsonl").output
        waited = invoke("batch wait out.jsonl --poll 0.2")
        assert "part 2: 2 rows, completed, 2 finished, batch_" in waited.output, waited.output
        fetched = invoke("batch fetch out.jsonl")
        assert (fetched.exit_code, "6 of 6 items done" in fetched.output) == (0, True), fetched.output
        assert len(lines_of(Path("out.jsonl"))) == 6
        assert "2 parts are settled" in invoke("batch status out.jsonl").output
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        with monkeypatch.context() as there:
            there.chdir(elsewhere)
            refused = invoke("batch fetch ../out.jsonl")  # it would send all rows again, into a new output
        message = "begun with --out out.jsonl, which is another file here; fetch in the directory in which"
        assert (refused.exit_code, message in refused.output) == (2, True), refused.output
        assert not list(elsewhere.iterdir())
        invoke(f"{run} --out other.jsonl --detach")
        assert "2 batches are being cancelled." in invoke("batch cancel other.jsonl").output
        for command, message in {
            "batch status in.csv": "in.csv: is not the output of a run",
            f"{run} --out o.jsonl --processes 2": "--processes: leave it out; --engine batch",
            f"{run} --out o.jsonl --detach --finish-by 06:00": "--detach: leave out --finish-by",
            f"{run} --out o.jsonl --adopt batch_none": "--adopt batch_none: there is no such batch at http:",
            'run in.csv --model m --prompt "Sort {name}" --out other.jsonl': "; name it as --engine to fetch",
        }.items():
            refused = invoke(command)
            assert (refused.exit_code, message in refused.output) == (2, True), refused.output


@pytest.mark.parametrize(
    "command",
    [
        'run in.csv --out o.jsonl --prompt "{name}"',
        "run job.toml --out o.jsonl",
        "embed in.csv --out o.parquet --column name",
    ],
)
def test_a_dry_run_shows_both_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("id,name\nr1,n1\n")
    Path("job.toml").write_text('input = "in.csv"\n[[step]]\nname = "one"\nprompt = "{name}"\n')
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    shown = invoke(f"{command} --model deepseek-v3.2 --engine batch --dry-run")
    assert shown.exit_code == 0, shown.output
    assert "cost       at once: $0.0" in shown.output
    assert "; batch: $0.0" in shown.output
    if "embed" in command:
        refused = invoke(f"{command} --model m --engine batch --batch-size 4")
        message = "--batch-size 4: leave it out; with --engine, each text is a request of its own"
        assert (refused.exit_code, message in refused.output) == (2, True), refused.output
    else:
        monkeypatch.setenv("OPENAI_BASE_URL", "https://openrouter.ai/api/v1")
        refused = invoke(f"{command} --model m --engine batch --dry-run")
        assert (refused.exit_code, "cannot make batches at openrouter.ai" in refused.output) == (1, True)
