"""`headrace top`: its screens, its loop, and its keys."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console, RenderableType

from headrace import HeadraceError
from headrace.blocking import run
from headrace.bulk import RateHistory
from headrace.errors import InputError
from headrace.testing import FakeEndpoint
from headrace.transports.memory import MemoryTransport
from headrace_view.top.alive_runs import alive_runs
from headrace_view.top.command import top
from headrace_view.top.keys import pressed_keys
from headrace_view.top.screen import run_screen, runs_screen
from headrace_view.top.watch import watch_run, watch_runs
from view_lines import make_line, write_output

HOSTILE = "\x1b[2J\u202ered\nalert " * 100
STATUS: dict[str, Any] = {
    **{"state": "running", "time": 1.7e9, "out": "answers.jsonl", "engine": None, "engine_status": ""},
    **{"total": 1000, "counted": True, "done": 650, "left": 350, "done_before": 0, "failed_before": 2},
    **{"succeeded": 640, "failed": 8, "retries": 12, "rate": 75.1, "elapsed": 8.6, "time_left": 4.7},
    **{"in_flight": 99, "max_in_flight": 100, "waiting": "", "circuits": {}, "cost": "0.1234"},
    "limits": {"max-in-flight": 100, "budget": "10", "requests-per-minute": 6000, "tokens-per-minute": None},
    **{"prompt_tokens": 6500, "completion_tokens": 13_000, "finish_reasons": {"stop": 642}},
    "latency": {"count": 640, "mean": 0.5, "p50": 0.42, "p95": 1.25, "p99": 3.5},
    "failures": [
        {"code": "rate_limited", "status": 429, "finish_reason": None, "number": 8, "message": "slow " * 60}
    ],
    **{"steps": None, "samples": None, "stopped_by": None},
}


class NoRun(HeadraceError):
    """No run is alive."""


class Run:
    """A run whose client gives these statuses, one after the other, and then is gone."""

    def __init__(self, *statuses: Mapping[str, Any]) -> None:
        self.left = [dict(status) for status in statuses]
        self.closed = False

    def status(self) -> dict[str, Any]:
        if not self.left:
            raise NoRun("no run is alive")
        return self.left.pop(0)

    @contextmanager
    def connect(self) -> Iterator[Run]:
        if not self.left:
            raise NoRun("no run is alive; begin it again")
        yield self
        self.closed = True


def terminal(width: int = 80, *, live: bool = True) -> Console:
    return Console(file=io.StringIO(), force_terminal=live, width=width, height=40, highlight=False)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def rendered(screen: RenderableType, width: int) -> list[str]:
    console = terminal(width, live=False)
    console.print(screen)
    return shown(console).splitlines()


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """The output of a run of three items."""
    out = tmp_path / "answers.jsonl"
    run(
        [{"id": f"{number}"} for number in range(3)],
        prompt="{id}",
        out=out,
        base_url="http://fake.test/v1",
        model="m",
        transport=MemoryTransport(FakeEndpoint().handle),
    )
    return out


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_screen_has_all_numbers_at_any_width(width: int) -> None:
    history = RateHistory()
    for second, done in enumerate((0, 50, 150, 250)):
        history.add(second, done)
    lines = rendered(run_screen(STATUS, history, width=width), width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for part in (
        *("answers.jsonl", "running", "65%", "650 of 1,000 done", "99 of 100", "p95 1.25 s"),
        *("$0.1234 of $10.00", "83.3/s now", "about 4.70 s left", "requests-per-minute=6000"),
        *("8 rate_limited 429", "slow"),
    ):
        assert part in text
    assert ("▅██" in text) is (width > 40)


def test_hostile_texts_and_numbers_are_text_on_one_line() -> None:
    status = STATUS | dict.fromkeys(("out", "state", "waiting", "engine", "engine_status"), HOSTILE)
    status |= {"circuits": {HOSTILE: HOSTILE}, "stopped_by": {"code": HOSTILE, "message": HOSTILE}}
    status |= {"steps": {HOSTILE: {HOSTILE: 1}}, "samples": {HOSTILE: 1}, "limits": {HOSTILE: HOSTILE}}
    status |= {"finish_reasons": {f"{HOSTILE}{n}": n for n in range(10_000)}, "cost": "1e308"}
    status |= {"rate": 1e308, "elapsed": 1e308, "time_left": 1e308, "latency": {"p50": 1e308, "p95": -5.0}}
    status["failures"] = [STATUS["failures"][0] | {"code": HOSTILE, "message": HOSTILE}] * 20
    text = "".join(rendered(run_screen(status, RateHistory(), width=80), 80))
    text += "".join(rendered(runs_screen([status], width=80), 80))
    assert text.isprintable()
    assert len(text) < 10_000
    assert "and 12 more kinds" in text


def test_no_name_reaches_the_terminal_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "\x1b[2J\u202e\x07.jsonl"
    write_output(out, [make_line(0, HOSTILE, code=HOSTILE, message=HOSTILE, reason=HOSTILE)])

    @contextmanager
    def connect() -> Iterator[Run]:
        raise NoRun(f"{out}: no run is alive")
        yield

    console = terminal(live=False)
    watch_run(out, connect, NoRun, console)
    assert "no run is alive" in shown(console)
    assert shown(console).replace("\n", "").isprintable()


def test_what_is_not_known_is_left_out() -> None:
    (first, *rest) = rendered(run_screen({"state": "running"}, RateHistory(), width=60), 60)
    assert "running" in first
    assert "Latency" not in "".join(rest)


def test_the_list_has_a_line_for_each_run() -> None:
    runs = [STATUS, STATUS | {"out": "long/" * 40 + "out.jsonl", "counted": False, "state": "waiting"}]
    wide = rendered(runs_screen(runs, width=120), 120)
    assert wide[0].split() == ["Output", "State", "Items", "Rate", "Failed", "Left"]
    assert wide[1].split() == ["answers.jsonl", "running", "650/1,000", "65%", "75.1/s", "10", "4.70", "s"]
    assert wide[2].split()[1:4] == ["waiting", "650/1,000+", "75.1/s"]
    assert wide[2].startswith("…")
    for width in (40, 79, 80, 200):
        lines = rendered(runs_screen(runs, width=width), width)
        assert len(lines) == 3
        assert max(map(len, lines)) <= width
        assert "out.jsonl  waiting" in lines[2]


def test_the_last_totals_stay_when_the_run_ends(answers: Path) -> None:
    console = terminal()
    running = Run(STATUS | {"done": 1, "total": 4}, STATUS | {"done": 2, "total": 4, "time": 1.7e9 + 1})
    watch_run(answers, running.connect, NoRun, console, interval=0)
    assert running.closed
    last = shown(console).rpartition("\x1b[?1049l")[2]
    assert "3 of 4 done, 1 left" in last, "of the output; the last look was before its end"
    assert "The run has ended." in last


def test_a_run_that_is_not_alive_is_shown_once_from_its_output(answers: Path) -> None:
    console = terminal(live=False)
    watch_run(answers, Run().connect, NoRun, console)
    assert "3 of at least 3 done" in shown(console)
    assert shown(console).endswith("no run is alive; begin it again\n")
    with pytest.raises(InputError, match="No such file"):
        watch_run(answers.with_name("other.jsonl"), Run().connect, NoRun, console)


@pytest.mark.parametrize("dumb", [False, True])
def test_without_a_terminal_there_is_one_look(dumb: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb" if dumb else "xterm")
    running, console = Run(STATUS, STATUS), terminal(live=dumb)
    watch_run("answers.jsonl", running.connect, NoRun, console)
    assert len(running.left) == 1
    assert "650 of 1,000 done" in shown(console)
    assert "\x1b[?1049h" not in shown(console)


def test_the_list_ends_with_its_last_run() -> None:
    console = terminal()
    looks = [[STATUS], [STATUS], []]
    watch_runs(lambda: looks.pop(0), console, interval=0)
    assert shown(console).endswith("The runs have ended.\n")
    console = terminal(live=False)
    watch_runs(list, console)
    assert shown(console) == "No run is alive that takes control messages.\n"


def pressing(monkeypatch: pytest.MonkeyPatch, keys: bytes) -> int:
    """Give the program a terminal as stdin, at which keys were pressed."""
    person, terminal = os.openpty()
    monkeypatch.setattr(sys, "stdin", os.fdopen(terminal))
    os.write(person, keys)
    return person


def test_q_leaves_and_the_terminal_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    person = pressing(monkeypatch, b"xq")
    before = termios.tcgetattr(sys.stdin.fileno())
    running, console = Run(*[STATUS] * 3), terminal()
    watch_run("answers.jsonl", running.connect, NoRun, console, interval=3)
    assert len(running.left) == 1
    assert termios.tcgetattr(sys.stdin.fileno()) == before
    assert "ended" not in shown(console)
    sys.stdin.close()
    os.close(person)


def test_ctrl_c_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> list[dict[str, Any]]:
        looks.append(1)
        if len(looks) > 1:
            raise KeyboardInterrupt
        return [STATUS]

    looks: list[int] = []
    console = terminal()
    watch_runs(interrupted, console, interval=0)
    assert shown(console).rstrip().endswith("\x1b[?25h\x1b[?1049l")


def test_a_key_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    person = pressing(monkeypatch, b"")
    with pressed_keys() as wait:
        assert wait(0) == ""
        os.write(person, b"k")
        assert wait(5) == "k"
    sys.stdin.close()
    os.close(person)


def test_runs_are_found_by_their_sockets_in_private_folders(tmp_path: Path) -> None:
    private, open_to_others = tmp_path / "private", tmp_path / "open"
    for folder, mode in ((private, 0o700), (open_to_others, 0o755)):
        folder.mkdir()
        folder.chmod(mode)
        for name in ("b.sock", "a.sock", "killed.sock", "no.txt"):
            (folder / name).touch()

    def connect(path: Path) -> Any:
        if path.stem == "killed":
            raise ConnectionRefusedError
        return Run(STATUS | {"out": f"{path.parent.name}/{path.stem}"}).connect()

    found = alive_runs([private, open_to_others, tmp_path / "missing"], connect)
    assert [status["out"] for status in found] == ["private/a", "private/b"]


def test_the_command_asks_each_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime_folder = pytest.importorskip("headrace_view.control.runtime_folder")
    with tempfile.TemporaryDirectory(prefix="top") as folder, socket.socket(socket.AF_UNIX) as server:
        monkeypatch.setattr(runtime_folder, "socket_folders", lambda: iter([Path(folder)]))
        assert CliRunner().invoke(top).output == "No run is alive that takes control messages.\n"
        server.bind(f"{folder}/run.sock")
        server.listen()
        answering = threading.Thread(target=_answer_once, args=(server,))
        answering.start()
        output = CliRunner().invoke(top).output
        answering.join()
    assert "answers.jsonl  running  650/1,000 65%" in output


def _answer_once(server: socket.socket) -> None:
    """Reply to a message as a run does."""
    connection, _ = server.accept()
    with connection, connection.makefile("rwb") as lines:
        assert lines.readline().endswith(b"\n")
        lines.write(json.dumps(STATUS | {"type": "status"}).encode() + b"\n")
