"""`headrace view` as a command: what it refuses, and that it never touches the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from headrace.cli.main import cli
from headrace_view import server
from headrace_view.server import bind
from view_lines import make_line, write_output

COMMAND = [sys.executable, "-c", "from headrace_command import main; main()", "view", "--no-open"]


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The content and the time of each file that is not of the index."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()
    }


@pytest.mark.parametrize(
    ("host", "warned"),
    [(None, False), ("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)],  # noqa: S104
)
def test_only_a_page_that_others_can_reach_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str | None, warned: bool
) -> None:
    def announce(app: object, runs: object, bound: object, on_ready: Callable[[], None]) -> None:
        on_ready()

    monkeypatch.setattr(server, "serve", announce)
    out = write_output(tmp_path / "out.jsonl", [make_line(1)])
    shown = CliRunner().invoke(
        cli, ["view", "--no-open", str(out), *([] if host is None else ["--host", host])]
    )
    assert shown.exit_code == 0
    assert ("over the network as plain text" in shown.stderr) is warned


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL])
def test_a_page_is_served_until_it_is_ended_and_the_run_is_untouched(tmp_path: Path, ended_by: int) -> None:
    out = write_output(tmp_path / "out.jsonl", map(make_line, range(3)))
    (tmp_path / "out.jsonl.journal").write_text('{"headrace": 2, "model": "m"}\n', encoding="utf-8")
    before = files(tmp_path)
    with subprocess.Popen([*COMMAND, str(out)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert httpx.get(url).status_code == 200
        assert httpx.get(f"{url}api/runs/0/facts").json() == [["Model", "m"]]
        assert httpx.get(url.replace("127.0.0.1", "localhost")).status_code == 200
        assert httpx.get(url.rpartition("/")[0].rpartition("/")[0]).status_code == 404
        process.send_signal(ended_by)
        assert process.wait(20) == (0 if ended_by == signal.SIGINT else -signal.SIGKILL)
    assert files(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} - set(before) == {".out.jsonl.view"}


def test_what_is_no_output_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("id,text\n1,a\n", encoding="utf-8")
    Path("other.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    Path("empty").mkdir()
    write_output(tmp_path / "out.jsonl", [make_line(1)])
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        for arguments, message in {
            ("gone.jsonl",): "gone.jsonl: No such file or directory; name the --out of a headrace run",
            ("rows.csv",): "rows.csv: is not the output of a run; name the --out of a headrace run",
            ("other.jsonl",): "other.jsonl: is not the output of a run; name the --out of a headrace run",
            ("empty",): "empty: has no output of a run; name the --out of a headrace run",
            ("out.jsonl", "--port", port): f"127.0.0.1:{port}: Address already in use; choose another --port",
            ("out.jsonl", "--host", "no such host"): "no such host:0: ",
        }.items():
            result = CliRunner().invoke(cli, ["view", "--no-open", *arguments])
            assert result.exit_code == 2, result.output
            assert result.output.startswith(f"headrace: {message}")
            assert result.output.count("\n") == 1
    assert not (tmp_path / ".out.jsonl.view").exists()


def test_a_folder_shows_its_outputs_the_newest_first(tmp_path: Path) -> None:
    from headrace_view.runs import Runs

    for age, name in enumerate(("new", "old", "foreign")):
        out = write_output(tmp_path / f"{name}.jsonl", [make_line(1)])
        os.utime(out, (1000 - age, 1000 - age))
    (tmp_path / "foreign.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    (tmp_path / "begun.jsonl").touch()
    runs = Runs([tmp_path, tmp_path / "old.jsonl"])
    assert [run.name for run in runs.all] == ["old.jsonl", "new.jsonl"]
    (tmp_path / "begun.jsonl.journal").touch()
    runs.look_for_more()
    assert [run.name for run in runs.all] == ["old.jsonl", "new.jsonl", "begun.jsonl"]
    assert runs.get(9) is None
    (asked := runs.get(1))
    while runs.step():
        pass
    assert asked
    assert asked.builder.totals.rows == 1
    runs.close()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [".new.jsonl.view"]


def test_a_table_stands_for_its_lines(tmp_path: Path) -> None:
    from headrace_view.runs import Runs

    write_output(tmp_path / "answers.csv.jsonl", [make_line(1)])
    (run,) = Runs([tmp_path / "answers.csv"]).all
    assert (run.name, run.journal.name) == ("answers.csv", "answers.csv.jsonl")
