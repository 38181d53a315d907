"""Orders to actors and their reports, as files, and what the driver shows of them; without a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import ControlRefused, SettingsError
from headrace.bulk import ItemResult, Summary, control_address, encode_totals
from headrace_ray import folder
from headrace_ray.control import RayControl
from headrace_ray.folder import OutputFolder
from headrace_ray.orders import ActorOrders, OrderReader, Orders
from headrace_ray.places import take_place
from headrace_ray.reports import ActorReport, ReportFile, read_reports
from headrace_ray.shards import ActorShard, key_by_index
from headrace_ray.stop import INTERRUPT, StopSignal

BEFORE = Summary(0, done_before=5, failed_before=1)


@given(
    changes=st.lists(
        st.tuples(st.just("paused"), st.booleans())
        | st.tuples(st.just("max_in_flight"), st.integers(2, 99))
        | st.tuples(st.sampled_from(["budget", "pace"]), st.none() | st.integers(0, 9))
        | st.tuples(st.just("read"), st.none())
    )
)
def test_actors_get_the_orders_that_are_in_force(
    changes: Sequence[tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared = tmp_path_factory.mktemp("shared")
    orders, reader = ActorOrders(shared, 2, 40), OrderReader(shared)
    paused, total, limits, read, number = False, None, {}, Orders(), 0
    for name, value in changes:
        number += name != "read"
        if name == "paused":
            paused = orders.paused = value
        elif name == "max_in_flight":
            total = orders.max_in_flight = value
        elif name != "read":
            orders.set_limit(name, value)
            limits[name] = value
        else:
            read = reader.read_new() or read
            assert read == Orders(number, paused, total, limits)
            assert reader.read_new() is None
    assert (reader.read_new() or read) == Orders(number, paused, total, limits)
    assert (OrderReader(shared).read_new() or Orders()) == Orders(number, paused, total, limits)


def test_the_shares_of_all_actors_add_up(tmp_path: Path) -> None:
    places = [take_place(tmp_path, 3) for _ in range(4)]  # one more than there are actors
    assert [place.number for place in places] == [0, 1, 2, 2]
    for total in range(3, 20):
        shares = [place.share_of(total) for place in places[:3]]
        assert sum(shares) == total
        assert max(shares) - min(shares) <= 1


def test_orders_are_held_between_sessions_and_hold_for_the_next(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    orders = ActorOrders(first, 2, 40)
    orders.cancel(["a", "b"])
    orders.hold()
    orders.paused = True
    orders.forget_cancelled({"a", "x"})
    assert OrderReader(first).read_new() == Orders(1, cancelled=["a", "b"])
    orders.move_to(second)
    assert OrderReader(second).read_new() == Orders(3, paused=True, cancelled=["b"])


def test_orders_that_are_not_possible_change_nothing(tmp_path: Path) -> None:
    orders = ActorOrders(tmp_path, 3, 40)
    with pytest.raises(SettingsError, match="must be at least 3, the number of actors"):
        orders.max_in_flight = 2
    gone = ActorOrders(tmp_path / "gone", 3, 40)
    with pytest.raises(ControlRefused, match=r"orders\.json: No such file or directory; nothing was changed"):
        gone.paused = True
    with pytest.raises(ControlRefused):
        gone.max_in_flight = 50
    assert (gone.paused, gone.max_in_flight, orders.max_in_flight) == (False, 40, 40)


class Session:
    """A session in a folder, without Ray."""

    def __init__(self, out: Path) -> None:
        self.stop = StopSignal(out, "s")
        self.stop.shared.mkdir(parents=True)
        (out / "run.journal").write_bytes(b'{"headrace":2,"run":"r"}\n')
        self.folder: Any = SimpleNamespace(
            path=out,
            stop=self.stop,
            request_stop=self.stop.request,
            sidecar=os.open(out / "run.journal", os.O_RDWR),
        )
        self.shards: list[ActorShard] = []

    def control(self, total: int | None = 100, before: Summary = BEFORE) -> RayControl:
        self.orders = ActorOrders(self.stop.shared, 2, 40)
        return RayControl(self.folder, self.orders, actors=2, policies=(), before=before, total=total)

    def report(self, in_flight: int, waiting: str = "", *results: ItemResult) -> ActorShard:
        """Report as a new actor, whose shard is returned."""
        shard, totals = ActorShard(self.folder.path, "s", f"a{len(self.shards)}"), Summary(0)
        self.shards.append(shard)
        for result in results:
            totals.add(result)
        raw = msgspec.Raw(encode_totals(totals))
        report = ActorReport(in_flight, waiting, {f"http://{in_flight}": "down"}, raw)
        ReportFile(self.stop.shared, shard.path).write(report)
        return shard

    async def cancel_as(self, shard: ActorShard, ids: Sequence[str]) -> None:
        """Report as an actor that it has cancelled items, once that is ordered."""
        reader = OrderReader(self.stop.shared)
        while (orders := reader.read_new()) is None:  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.001)
        totals = msgspec.Raw(encode_totals(Summary(0)))
        report = ActorReport(0, "", {}, totals, followed=orders.number, cancelled=[*ids])
        ReportFile(self.stop.shared, shard.path).write(report)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session in a folder."""
    made = Session(tmp_path / "out")
    yield made
    os.close(made.folder.sidecar)


def test_the_totals_of_dead_actors_count_and_their_calls_do_not(session: Session) -> None:
    good, bad = ItemResult(0, answered=True, prompt_tokens=3), ItemResult(1, code="timeout", status=500)
    dead = session.report(7, "", good, bad)
    session.report(9, "", good)
    dead.lines.close()
    assert [is_alive for _, is_alive in read_reports(session.stop.shared)].count(True) == 1
    status = session.control().snapshot().to_dict()
    assert (status["total"], status["done"], status["succeeded"], status["failed"]) == (100, 8, 2, 1)
    assert (status["done_before"], status["failed_before"], status["prompt_tokens"]) == (5, 1, 6)
    assert (status["in_flight"], status["max_in_flight"]) == (9, 40)
    assert (status["engine"], status["engine_status"], status["run"]) == ("ray", "1 of 2 actors", "r")
    assert status["circuits"] == {"http://9": "down"}
    assert status["failures"][0]["status"] == 500


def test_a_run_waits_if_all_its_actors_wait(session: Session) -> None:
    control = session.control(total=None)
    waiting = session.report(0, "the endpoint is down")
    assert (control.snapshot().state, control.snapshot().waiting) == ("waiting", "the endpoint is down")
    session.report(3)
    snapshot = control.snapshot()
    assert (snapshot.state, snapshot.waiting, snapshot.counted, snapshot.total) == ("running", "", False, 5)
    control.pause()
    waiting.lines.close()
    assert (control.snapshot().state, control.snapshot().waiting) == ("paused", "paused")
    control.resume()
    assert control.snapshot().state == "running"


def test_a_stop_is_that_of_ctrl_c_and_the_end_is_exact(session: Session) -> None:
    control = session.control()
    control.pause()
    assert "run its command again" in control.stop().message
    assert session.stop.reason() == INTERRUPT
    snapshot = control.snapshot()
    assert (snapshot.state, snapshot.waiting, snapshot.stopped_by) == ("stopping", "", INTERRUPT)
    with pytest.raises(ControlRefused, match="the run is stopping"):
        control.resume()
    session.report(3)
    assert not control.end_session(Summary(100, done_before=5, succeeded=90))
    snapshot = control.snapshot()
    assert (snapshot.state, snapshot.succeeded, snapshot.in_flight) == ("ended", 90, 0)
    with pytest.raises(ControlRefused, match="the run has ended"):
        control.pause()


def test_what_ray_cannot_do_says_what_to_do(session: Session) -> None:
    control = session.control()
    with pytest.raises(ControlRefused, match="max-in-flight=1: must be at least 2, the number of actors"):
        control.set_limit("max-in-flight", 1)
    with pytest.raises(ControlRefused, match="no policy of this run has it"):
        control.set_limit("budget", 1)


def add_line(shard: ActorShard, id: str) -> None:
    line = {"id": "headrace-1", "custom_id": id, "response": None, "error": {"code": "cancelled"}}
    shard.append(msgspec.json.encode(line) + b"\n")


@pytest.mark.anyio
async def test_what_became_of_cancelled_items_is_known_from_actors_and_lines(session: Session) -> None:
    control, actor, dead = session.control(), session.report(3), session.report(3)
    dead.lines.close()  # it is not waited for
    add_line(actor, "done")
    async with anyio.create_task_group() as group:
        group.start_soon(session.cancel_as, actor, ["flies"])
        done = await control.cancel(["flies", "done", "waits"])
    assert done.message == (
        "Cancelled in flight: flies. Fail when their turn comes, if the input has them: waits. "
        "Done already: done."
    )
    assert session.orders.cancelled == ["flies", "waits"]
    control.end_session(Summary(100))
    with pytest.raises(ControlRefused, match="the run has ended"):
        await control.cancel(["waits"])


def test_failed_items_are_sent_again_in_a_further_session(session: Session) -> None:
    control, actor = session.control(), session.report(3, "", ItemResult(1, code="timeout"))
    session.orders.cancel(["failed", "waits"])
    add_line(actor, "failed")
    said = control.retry_failed().message
    assert said == (
        "2 failed items will be sent again when all others are done, with those that fail until then."
    )
    assert session.orders.cancelled == ["waits"], "it was not sent, and is not sent now"
    summary = Summary(100, done_before=5, failed_before=1, succeeded=90, failed=5)
    assert control.end_session(summary)
    assert (summary.done, summary.succeeded, summary.failed, summary.failed_before) == (94, 90, 0, 0)
    snapshot = control.snapshot()
    assert (snapshot.state, snapshot.done, snapshot.in_flight) == ("running", 94, 0)
    assert control.retry_failed().message == "No item has failed."
    control.pause()
    assert not OrderReader(session.stop.shared).read_new().paused  # type: ignore[union-attr]
    control.begin_session()
    assert OrderReader(session.stop.shared).read_new().paused  # type: ignore[union-attr]
    assert not control.end_session(summary)
    with pytest.raises(ControlRefused, match="the run has ended"):
        control.retry_failed()


@pytest.mark.parametrize(
    "summary", [Summary(9, succeeded=9), Summary(9, succeeded=5, failed=1, stopped_by=INTERRUPT)]
)
def test_no_session_follows_a_stop_or_for_nothing(session: Session, summary: Summary) -> None:
    control = session.control()
    control.retry_failed()
    assert not control.end_session(summary)
    assert control.snapshot().state == "ended"


def test_a_further_session_has_a_stop_that_was_requested_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_here(function: Any, arguments: Any) -> list[Any]:
        return [function(*each) for each in arguments]

    monkeypatch.setattr(folder, "run_tasks", run_here)
    with OutputFolder(str(tmp_path / "out"), {"input": "x"}, key_by_index, retry_failed=False) as out:
        first = out.session
        shard = ActorShard(out.path, first, "a")
        add_line(shard, "failed")
        shard.lines.close()
        out.request_stop(INTERRUPT)
        out.begin_again()
        assert out.session != first
        assert (out.stop.reason(), out.stop.drop_requested) == (INTERRUPT, False)
        assert [len(keys) for keys in out.keys] == [0], "the line of a failed item was removed"
        assert not list(out.path.glob(f".*{first}*"))
        assert out.stop.shared.is_dir()
    assert not list(out.path.glob(".*"))


def test_the_address_is_in_the_sidecar_of_the_folder(session: Session) -> None:
    session.control().announce("/run/x.sock")
    assert control_address(session.folder.path) == "/run/x.sock"
