"""``headrace run --engine batch`` and ``headrace batch``."""

from __future__ import annotations

import json
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
        portal.wrap_async_context_manager(endpoint_process(Behaviour(batch_time=0.5))) as endpoint,
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
        invoke(f"{run} --out other.jsonl --detach")
        assert "2 batches are being cancelled." in invoke("batch cancel other.jsonl").output
        for command, message in {
            "batch status in.csv": "in.csv: is not the output of a run",
            f"{run} --out o.jsonl --processes 2": "--processes: leave it out; --engine batch",
            f"{run} --out o.jsonl --detach --finish-by 06:00": "--detach: leave out --finish-by",
        }.items():
            refused = invoke(command)
            assert (refused.exit_code, message in refused.output) == (2, True), refused.output


def test_a_batch_of_the_official_sdk_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openai = pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    with Path("requests.jsonl").open("w") as file:
        for number in range(8):
            messages = [{"role": "user", "content": f"Sort n{number}"}]
            body = {"model": "m", "messages": messages, "temperature": 0.0}
            line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            print(json.dumps(line), file=file)
    Path("in.csv").write_text("id,name\n" + "".join(f"r{number},n{number}\n" for number in range(2, 10)))
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(endpoint_process(Behaviour(batch_time=0.3))) as endpoint,
        openai.OpenAI(api_key="k", base_url=endpoint.base_url) as sdk,
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        uploaded = sdk.files.create(file=Path("requests.jsonl"), purpose="batch")
        batch = sdk.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        engine = f"--engine batch --batch-poll 0.2 --adopt {batch.id}"
        same = invoke(f"run requests.jsonl --out same.jsonl {engine}")
        assert (same.exit_code, "8 of 8 items done" in same.output) == (0, True), same.output
        assert "differ" not in same.output
        other = invoke(f'run in.csv --out other.jsonl --model m --prompt "Sort {{name}}" {engine}')
        assert (other.exit_code, "8 of 8 items done" in other.output) == (0, True), other.output
        assert f"Batch {batch.id}: 2 of its 8 requests are not rows of this session: r0, r1" in other.output
        assert "6 of its 8 requests differ from those of this run, beginning with r2 (in temp" in other.output
        assert len(list(sdk.batches.list())) == 2
        missing = invoke("run requests.jsonl --out o.jsonl --engine batch --adopt batch_none")
        assert (missing.exit_code, "--adopt batch_none: there is no such batch" in missing.output) == (
            2,
            True,
        )
    same_lines, other_lines = lines_of(Path("same.jsonl")), lines_of(Path("other.jsonl"))
    assert other_lines["r5"]["response"] == same_lines["r5"]["response"]


def test_a_dry_run_shows_both_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("id,name\nr1,n1\n")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    shown = invoke(
        'run in.csv --out o.jsonl --model deepseek-v3.2 --prompt "{name}" --engine batch --dry-run'
    )
    assert shown.exit_code == 0
    assert "cost       at once: $0.0" in shown.output
    assert "; batch: $0.0" in shown.output
