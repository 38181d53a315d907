"""`headrace run --engine ray`: one answer per row, also when processes are killed."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from headrace import Client
from headrace.bulk import Source, Summary
from headrace.errors import AuthenticationError, InputError, JournalError, SettingsError
from headrace.pipeline.bulk_engines import Job
from headrace.testing.server import Behaviour
from headrace_ray.engine import RayEngine

from .conftest import lines_in, serving_process, write_rows

Serving = Callable[[Behaviour], Any]
Command = Callable[..., "subprocess.Popen[str]"]
IN_FLIGHT = 40
LIMIT = 120
PATIENT = {"HEADRACE_TIMEOUT": "600", "HEADRACE_STALL_TIMEOUT": "600"}


def job(folder: Path, url: str, **changed: Any) -> Job:
    client = {"base_url": url, "model": "m", "max_in_flight": IN_FLIGHT, **changed.pop("client", {})}
    text: dict[str, Any] = {
        "input": str(folder / "in"),
        "out": str(folder / "out"),
        "prompt": "Sort {name} at {price}",
        "model": "m",
        "choices": None,
        "schema": None,
        "system": None,
        "parameters": {},
        "id_column": None,
        "limit": None,
        "make_client": functools.partial(Client, **client),
        "max_in_flight": IN_FLIGHT,
        "deadline": None,
        "wait_for_endpoint": 600.0,
        "retry_failed": False,
    }
    return Job(**text | changed)


def run(arguments: Job, **options: Any) -> Summary:
    return RayEngine().run(arguments, {"ray_address": None, "actors": 2, "parquet": False} | options)


def rows_by_id(folder: Path) -> dict[str, tuple[int, int]]:
    """The number of the file and of the row for each id."""
    files = sorted((folder / "in").glob("*.csv"))
    return {
        f"{file.name}:{item.id}": (number, item.index)
        for number, file in enumerate(files)
        for item in Source(file).items()
    }


def check_once_each(out: Path, files: int, rows: int) -> None:
    """Check that each row has one line, with the answer to its own prompt and its index in the input."""
    lines, expected = lines_in(out), rows_by_id(out.parent)
    assert {line["custom_id"] for line in lines} == set(expected)
    assert len(lines) == len(expected) == files * rows
    for line in lines:
        number, row = expected[line["custom_id"]]
        assert line["id"] == f"headrace-{number * rows + row}"
        assert f"Sort {number}-{row} at {row}.90" in str(line["response"]["body"])


def wait_for_lines(out: Path, number: int, process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + LIMIT
    while len(lines_in(out)) < number:
        assert time.monotonic() < end, "the run makes no progress"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.usefixtures("cluster")
def test_a_folder_is_run_to_shards_and_resumed(
    tmp_path: Path, serving: Serving, requests_at: Callable[[str], int]
) -> None:
    write_rows(tmp_path / "in", 3, 700)
    with serving(Behaviour(latency=0.02)) as url:
        limited = run(job(tmp_path, url, limit=900))
        assert (limited.total, limited.succeeded, limited.left) == (900, 900, 0)
        rest = run(job(tmp_path, url), parquet=True)
        assert (rest.total, rest.done_before, rest.succeeded, rest.left) == (2100, 900, 1200, 0)
        again = run(job(tmp_path, url))
        assert (again.done_before, again.succeeded, again.failed) == (2100, 0, 0)
        assert requests_at(url) == 2100
        with pytest.raises(JournalError, match=r"the prompt changed .*was 'Sort \{name\} at \{price\}'"):
            run(job(tmp_path, url, prompt="Describe {name}"))
    check_once_each(tmp_path / "out", 3, 700)
    assert rest.latencies.count == 1200
    assert rest.prompt_tokens > 0
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "out" / "parquet")
    assert set(table.column("id").to_pylist()) == set(rows_by_id(tmp_path))
    assert table.column_names == ["id", "answer", "error", "attempts", "elapsed", "cost"]
    assert table.column("answer").null_count == 0


@pytest.mark.usefixtures("cluster")
def test_failed_items_are_sent_past_the_cache(
    tmp_path: Path, serving: Serving, requests_at: Callable[[str], int]
) -> None:
    write_rows(tmp_path / "in", 1, 50)
    client = {"cache": {"path": str(tmp_path / "answers.sqlite")}}
    # Each answer is cut off after one token, so it is not one of the choices.
    text = {"choices": ("garden tools", "household goods"), "parameters": {"max_tokens": 1}}
    with serving(Behaviour()) as url:
        assert run(job(tmp_path, url, client=client, **text)).failed == 50
        assert requests_at(url) == 50
        assert run(job(tmp_path, url, client=client, retry_failed=True, **text)).failed == 50
        assert requests_at(url) == 100


@pytest.mark.usefixtures("cluster")
def test_prompt_files_and_values_of_rows_reach_the_actors_and_bad_rows_fail_alone(
    tmp_path: Path, serving: Serving, requests_at: Callable[[str], int]
) -> None:
    (tmp_path / "in").mkdir()
    rows = ["a,hose,0.1,acme,2", "b,shears,hot,acme,1", "c,pot,,,"]
    (tmp_path / "in" / "rows.csv").write_text("\n".join(["id,name,temp,tenant,prio", *rows]) + "\n")
    (tmp_path / "ask.j2").write_text("Sort {{ name | upper }}\n")
    (tmp_path / "examples.csv").write_text("name,answer\nrake,garden\n")
    values: dict[str, Any] = {
        "parameters": {"temperature": "@temp"},
        "tags": {"tenant": "@tenant"},
        "priority": "@prio",
    }
    with serving(Behaviour()) as url:
        summary = run(
            job(
                *(tmp_path, url),
                prompt=tmp_path / "ask.j2",
                examples=str(tmp_path / "examples.csv"),
                **values,
            )
        )
        assert requests_at(url) == 2
    assert (summary.succeeded, summary.failures, summary.left) == (2, {"input_error": 1}, 0)
    lines = {line["custom_id"]: line for line in lines_in(tmp_path / "out")}
    assert lines["b"]["error"]["message"].endswith(
        "rows.csv:3: column 'temp': 'hot' cannot be the parameter temperature, which must be a number"
    )
    assert "Sort HOSE" in str(lines["a"]["response"]["body"])


def holders(out: Path) -> list[int]:
    """Return the processes that have a shard open: the actors."""
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # the process or file may be gone by now
                for file in os.listdir(process / "fd"):
                    with suppress(OSError):
                        if os.readlink(process / "fd" / file).startswith(f"{out}/shard-"):
                            found.add(int(process.name))
    return sorted(found)


def test_a_killed_actor_loses_only_its_calls_in_flight(
    tmp_path: Path, serving: Serving, command: Command, requests_at: Callable[[str], int]
) -> None:
    write_rows(tmp_path / "in", 2, 1500)
    out = tmp_path / "out"
    arguments = ("in", "--out", "out", "--prompt", "Sort {name} at {price}", "--model", "m", "--actors", "2")
    with serving(Behaviour(latency=0.1)) as url:
        process = command(url, *arguments, "--max-in-flight", str(IN_FLIGHT))
        wait_for_lines(out, 500, process)
        os.kill(holders(out)[0], signal.SIGKILL)
        text, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, errors
        sent = requests_at(url)
    assert "3,000 of 3,000 items done" in text
    check_once_each(out, 2, 1500)
    assert sent <= 3000 + IN_FLIGHT // 2 + 15, "more was sent again than the actor had in flight"


def test_a_killed_command_can_be_continued(
    tmp_path: Path, command: Command, requests_at: Callable[[str], int]
) -> None:
    write_rows(tmp_path / "in", 2, 1000)
    out = tmp_path / "out"
    arguments = ("in", "--out", "out", "--prompt", "Sort {name} at {price}", "--model", "m", "--actors", "2")
    with serving_process(Behaviour(latency=0.2)) as endpoint:
        url = endpoint.base_url
        start = functools.partial(command, url, *arguments, "--max-in-flight", str(IN_FLIGHT), **PATIENT)
        process = start()
        wait_for_lines(out, 400, process)
        # The first command cannot finish while the second one starts.
        os.kill(endpoint.pid, signal.SIGSTOP)
        second = start()
        text, refused = second.communicate(timeout=LIMIT)
        assert (second.returncode, text) == (2, ""), refused
        assert "another run is writing to it" in refused
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate(timeout=LIMIT)
        end = time.monotonic() + LIMIT
        while left := holders(out):
            assert time.monotonic() < end, f"actors outlive their driver: {left}"
            time.sleep(0.1)
        assert 400 <= len(lines_in(out)) < 2000
        os.kill(endpoint.pid, signal.SIGCONT)
        # As after a crash of the machine: a torn line.
        with max(out.glob("shard-*"), key=lambda shard: shard.stat().st_size).open("ab") as shard:
            shard.write(b'{"id":"headrace-17","custom')
        process = start()
        text, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, errors
        sent = requests_at(url)
    assert "2,000 of 2,000 items done" in text
    check_once_each(out, 2, 1000)
    assert sent <= 2000 + IN_FLIGHT + 2 * 15, "more was sent again than was in flight"


def test_ctrl_c_lets_calls_in_flight_finish(tmp_path: Path, serving: Serving, command: Command) -> None:
    write_rows(tmp_path / "in", 1, 3000)
    out = tmp_path / "out"
    arguments = (
        "in",
        "--out",
        "out",
        "--prompt",
        "{name}",
        "--model",
        "m",
        "--max-in-flight",
        str(IN_FLIGHT),
    )
    with serving(Behaviour(latency=0.2)) as url:
        process = command(url, *arguments)
        wait_for_lines(out, 100, process)
        process.send_signal(signal.SIGINT)
        text, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, errors
    assert "run the same command again to continue" in text
    assert "Traceback" not in errors
    done = len(lines_in(out))
    assert f"{done:,} of 3,000 items done" in text
    assert done < 3000
    assert not list(out.glob(".*"))


@pytest.mark.usefixtures("cluster")
def test_an_error_that_all_calls_would_get_stops_the_run(tmp_path: Path, serving: Serving) -> None:
    write_rows(tmp_path / "in", 2, 2000)
    with serving(Behaviour(api_key="sk-right")) as url:
        summary = run(job(tmp_path, url, client={"api_key": "sk-wrong"}))
    assert isinstance(summary.stopped_by, AuthenticationError)
    assert summary.stopped_by.status == 401
    assert (summary.succeeded, summary.failed, summary.left) == (0, 0, 4000)
    assert lines_in(tmp_path / "out") == []


@pytest.mark.usefixtures("cluster")
def test_a_run_waits_for_a_failing_endpoint_and_keeps_its_deadline(tmp_path: Path) -> None:
    write_rows(tmp_path / "in", 1, 600)
    unreachable = "http://127.0.0.1:9/v1"
    impatient = {"retry": {"attempts": 1}, "breaker": {"open_for": 0.2}}
    given_up = run(job(tmp_path, unreachable, wait_for_endpoint=0.5, client=impatient))
    assert getattr(given_up.stopped_by, "code", None) == "circuit_open"
    stopped = run(job(tmp_path, unreachable, deadline=3.0, client=impatient))
    assert "deadline of 3 s passed" in str(stopped.stopped_by)
    assert stopped.left == 600, "items that opened the circuit are run again as well"
    with pytest.raises(JournalError, match="is a file"):
        run(job(tmp_path, unreachable, out=str(tmp_path / "in" / "part0.csv")))


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        (
            {"prompt": "{nam}"},
            InputError,
            r"csv:2: no column 'nam' for the prompt; did you mean 'name'",
        ),
        ({"prompt": None}, InputError, "prompt= is missing"),
        ({"input": "-"}, InputError, "cannot read stdin"),
        ({"input": "s3://bucket/x"}, InputError, "map_dataset"),
        ({"input": "nowhere/*.csv"}, InputError, "no such file"),
        ({"max_in_flight": 1}, SettingsError, "actors=2: must be at least 1, and at most max_in_flight=1"),
    ],
)
def test_mistakes_are_reported_before_anything_is_sent(
    tmp_path: Path, changed: dict[str, Any], error: type[Exception], text: str
) -> None:
    write_rows(tmp_path / "in", 2, 3)
    with pytest.raises(error, match=text):
        run(job(tmp_path, "http://127.0.0.1:9/v1", **changed))
    assert lines_in(tmp_path / "out") == []
