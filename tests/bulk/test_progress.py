"""The progress of a run: for programs, at a terminal, in a notebook, and in a log."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import attrs
import pytest
import trio
import trio.testing

import headrace
from headrace import blocking
from headrace.bulk import Run, RunSnapshot, Summary, run
from headrace.bulk.progress.plain_lines import PlainLines
from headrace.errors import CircuitOpen, SettingsError
from headrace.policies import Stage
from headrace.testing import Answer, FakeEndpoint
from headrace.transports.memory import MemoryTransport

Lines = Callable[[Path], list[dict[str, Any]]]
SLOW = Answer(delay=1.0)


@pytest.fixture
def virtual_time(autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    return autojump_clock


@pytest.mark.trio
async def test_a_callback_gets_copies_of_the_totals_at_most_ten_times_a_second(
    virtual_time: Any, products: Path
) -> None:
    seen: list[tuple[float, Summary]] = []
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.03))
    rows = ({"id": f"{number}"} for number in range(100))
    async with endpoint.client(max_in_flight=1) as client:
        result = await run(
            client,
            rows,
            prompt="{id}",
            progress=lambda summary: seen.append((trio.current_time(), summary)),
        )
    times = [time for time, _ in seen]
    done = [summary.done for _, summary in seen]
    assert 20 <= len(seen) <= 32, "three seconds"
    assert all(later - time >= 0.0999 for time, later in pairwise(times[:-1]))
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 100)
    assert not seen[0][1].counted
    last = seen[-1][1]
    assert last is not result
    assert type(last) is RunSnapshot
    assert (last.succeeded, last.counted, last.elapsed) == (100, True, result.elapsed)
    assert last._repr_html_() == result._repr_html_()


@pytest.mark.trio
async def test_a_callback_is_not_called_while_nothing_changes(virtual_time: Any, products: Path) -> None:
    seen: list[Summary] = []
    refused = CircuitOpen("open", 300.0)
    endpoint = FakeEndpoint("a", refused, otherwise="a")
    async with endpoint.client(max_in_flight=1) as client:
        await run(client, products, prompt="{name}", progress=seen.append)
    assert trio.current_time() >= 300
    assert len(seen) < 8
    assert [summary.waiting for summary in seen if summary.waiting] == ["open"]


async def perform_entered(begun: Run) -> None:
    async with begun:
        await begun.wait()


@pytest.mark.anyio
@pytest.mark.parametrize(("at", "entered"), [(0, False), (3, False), (3, True), (10, False)])
async def test_an_exception_of_the_callback_ends_the_run_and_nothing_is_lost(
    products: Path, read_lines: Lines, at: int, entered: bool
) -> None:
    out = products.with_name("out.jsonl")
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.12))
    calls: list[int] = []

    def failing(summary: Summary) -> None:
        calls.append(summary.done)
        if summary.done >= at:
            raise ZeroDivisionError("of the caller")

    async with endpoint.client(max_in_flight=3) as client:
        begun = run(client, products, prompt="{name}", out=out, progress=failing)
        with pytest.raises(ZeroDivisionError, match="of the caller"):
            await (perform_entered(begun) if entered else begun.perform())
    assert [done >= at for done in calls].count(True) == 1, "it is not called again"
    lines = read_lines(out)
    assert len(lines) >= at
    assert not any(line["error"] for line in lines)
    again = FakeEndpoint()
    async with again.client() as client:
        result = await run(client, products, prompt="{name}", out=out)
    assert (result.done_before, result.succeeded, len(again.attempts)) == (
        *(len(lines), 10 - len(lines), 10 - len(lines)),
    )


@pytest.mark.anyio
async def test_the_callback_is_called_at_the_end_of_each_kind_of_run(products: Path) -> None:
    out, seen = products.with_name("out.jsonl"), list[Summary]()
    async with FakeEndpoint("a", "a", otherwise=Answer(delay=3600)).client(max_in_flight=1) as client:
        with anyio.CancelScope() as scope:

            def cancelling(summary: Summary) -> None:
                seen.append(summary)
                if summary.done == 2:
                    scope.cancel()

            await run(client, products, prompt="{name}", out=out, progress=cancelling)
    assert scope.cancelled_caught
    assert [summary.done for summary in seen][-2:] == [2, 2]
    seen.clear()
    async with FakeEndpoint(otherwise=401).client(max_in_flight=1) as client:
        await run(client, products, prompt="{name}", out=out, progress=seen.append)
    assert isinstance(seen[-1].stopped_by, headrace.AuthenticationError)
    async with FakeEndpoint().client() as client:
        await run(client, products, prompt="{name}", out=out)
        seen.clear()
        await run(client, products, prompt="{name}", out=out, progress=seen.append)
    assert [summary.done for summary in seen][-1] == 10
    assert len(seen) <= 2


def test_the_blocking_run_has_progress_too(products: Path) -> None:
    seen: list[Summary] = []
    result = blocking.run(
        [{"id": "a"}],
        prompt="{id}",
        progress=seen.append,
        base_url="http://fake.test/v1",
        model="m",
        transport=MemoryTransport(FakeEndpoint().handle),
    )
    assert seen[-1].succeeded == result.succeeded == 1


async def waiting(summary: Summary) -> None:
    pass


@attrs.frozen
class Waiting:
    async def __call__(self, summary: Summary) -> None:
        pass


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("progress", "named"),
    [
        ("bar", "'bar'"),
        (True, "True"),
        (1, "1"),
        (["x" * 500], "['xxx"),
        (waiting, "an async function"),
        (Waiting(), "an async function"),
    ],
)
async def test_another_progress_is_refused_in_one_line(products: Path, progress: Any, named: str) -> None:
    endpoint = FakeEndpoint()
    async with endpoint.client() as client:
        with pytest.raises(SettingsError) as refused:
            await run(client, products, prompt="{name}", progress=progress)
    message = str(refused.value)
    assert message.startswith(f'progress=: must be a function that is not async, "auto" or None, not {named}')
    assert len(message) < 150
    assert "\n" not in message
    assert not endpoint.attempts


@pytest.mark.trio
async def test_elsewhere_there_are_plain_lines_on_stderr(
    virtual_time: Any, products: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeEndpoint(otherwise=SLOW).client(max_in_flight=1) as client:
        await run(client, products, prompt="{name}", limit=8, progress="auto")
    shown = capsys.readouterr()
    assert shown.out == ""
    first, last = shown.err.splitlines()
    assert re.fullmatch(r"[45]/8 · 1/s · 0 failed · 0 retries · 1 in flight · \d\.\d\d s left", first)
    assert last == "8/8 · 1/s · 0 failed · 0 retries · 0 in flight"


@pytest.mark.anyio
async def test_without_progress_nothing_is_shown(products: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with FakeEndpoint().client() as client:
        await run(client, products, prompt="{name}")
    assert capsys.readouterr() == ("", "")


@pytest.mark.anyio
@pytest.mark.parametrize("stderr", [None, "closed"])
async def test_a_log_that_cannot_be_written_does_not_end_the_run(
    products: Path, monkeypatch: pytest.MonkeyPatch, stderr: str | None
) -> None:
    log = None if stderr is None else products.with_name("log").open("w")
    if log is not None:
        log.close()
        log = SimpleNamespace(isatty=lambda: False, write=log.write, flush=log.flush)  # type: ignore[assignment]
    monkeypatch.setattr(sys, "stderr", log)
    async with FakeEndpoint().client() as client:
        result = await run(client, products, prompt="{name}", progress="auto")
    assert result.succeeded == 10


class Terminal(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> str:
        """What was written, without control sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.getvalue())


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal."""
    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@attrs.define
class Retrying:
    """A policy that reports a retry of each call."""

    name = "retrying"
    stage = Stage.PERSIST

    def wrap(self, send: headrace.Send) -> headrace.Send:
        async def reporting(call: headrace.Call) -> headrace.Reply:
            call.notify("retry", attempt=2)
            return await send(call)

        return reporting


@pytest.mark.anyio
async def test_a_terminal_shows_a_bar(products: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)

    def make_client() -> headrace.Client:
        return FakeEndpoint().client([Retrying()])

    await run(make_client, products, prompt="{name}", progress="auto")
    shown = terminal.shown
    assert re.search(r"━+ 100%  10/10", shown)
    assert re.search(r"/s · 0 failed · 10 retries · 0 in flight", shown), "the client is observed"


@pytest.mark.anyio
async def test_a_bar_of_an_input_of_unknown_length_has_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    rows = ({"id": f"{number}"} for number in range(100))
    endpoint = FakeEndpoint(otherwise=Answer(delay=0.05))
    async with (
        endpoint.client(max_in_flight=5) as client,
        run(client, rows, prompt="{id}", progress="auto") as entered,
    ):
        async for _ in entered:
            if entered.snapshot().done > 20:
                break
    shown = terminal.shown
    assert re.search(r"━ +\d+/\d+\+", shown)
    assert "%" not in shown


@pytest.mark.anyio
async def test_a_terminal_that_shows_no_bar_gets_lines(
    products: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = terminal_of(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    async with FakeEndpoint().client() as client:
        await run(client, products, prompt="{name}", progress="auto")
    assert terminal.shown.startswith("10/10 · ")


class Notebook:
    """IPython in a notebook: its shell has a kernel, and outputs of a cell can be replaced."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.display = SimpleNamespace(display=self._display)

    def get_ipython(self) -> Any:
        return SimpleNamespace(kernel=object())

    def _display(self, value: Any, *, display_id: bool) -> Any:
        assert display_id
        self.update(value)
        return self

    def update(self, value: Any) -> None:
        self.shown.append(value._repr_html_())


@pytest.mark.trio
async def test_a_notebook_shows_a_widget_that_changes(
    virtual_time: Any,
    products: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notebook = Notebook()
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    async with FakeEndpoint(otherwise=SLOW).client(max_in_flight=1) as client:
        result = await run(client, products, prompt="{name}", progress="auto")
    assert len(notebook.shown) == len(set(notebook.shown)), "only what has changed is sent"
    done = [re.findall(r"\d+ of (?:at least )?\d+ done", html) for html in notebook.shown]
    assert done[0][0].startswith("0 of")
    assert done[-1] == ["10 of 10 done"]
    assert "<b>running</b>" in notebook.shown[0]
    assert "<tr><th>In flight</th><td>1 of 1</td></tr>" in notebook.shown[1]
    assert "<b>ended</b>" in notebook.shown[-1]
    assert result.succeeded == 10
    assert capsys.readouterr() == ("", "")


@pytest.mark.trio
async def test_a_widget_shows_what_the_snapshot_says(
    virtual_time: Any, products: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = Notebook()
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    async with (
        FakeEndpoint(otherwise=SLOW).client(max_in_flight=4) as client,
        run(client, products, prompt="{name}", progress="auto") as going,
    ):
        going.pause()
        going.set_limit("max-in-flight", 3)
        await trio.sleep(5)
        assert going.snapshot().state == "paused"
        for part in ("<b>paused</b>", "max-in-flight=3", "<td>0 of 3</td>", "<td>paused</td>"):
            assert part in notebook.shown[-1]
        going.resume()
        await going.wait()
    assert "<b>ended</b>" in notebook.shown[-1]


def test_a_line_says_why_the_run_waits() -> None:
    lines: list[str] = []
    waiting = RunSnapshot(10, counted=False, waiting="refused\x1b\nby all " * 30, state="waiting")
    PlainLines(lines.append, last=False).finish(waiting)
    assert lines == []
    PlainLines(lines.append).finish(waiting)
    assert re.fullmatch(
        r"0/10\+ · 0/s · 0 failed · 0 retries · 0 in flight · waiting: refused\\x1b by .*…", lines[0]
    )
