"""No row is done twice by actors that outlive their command, are replaced, or get a block again."""

from __future__ import annotations

import functools
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import Client
from headrace.errors import JournalError
from headrace.testing.server import Behaviour
from headrace_ray import shards
from headrace_ray.files import JobSpec, find_files
from headrace_ray.shards import ActorShard, key_by_index

from .conftest import lines_in, write_rows
from .test_ray_engine import LIMIT, check_once_each, job, run

Serving = Callable[[Behaviour], Any]
ROWS = 800


def start_actor(folder: Path, url: str, session: str, max_in_flight: int, *, steered: bool = False) -> Any:
    """Start an actor of a session whose command is gone; Ray does not end it."""
    import ray

    from headrace_ray.actor import ActorSetup, CallActor

    setup = ActorSetup(
        make_client=functools.partial(Client, base_url=url, model="m"),
        out=folder / "out",
        sidecar="run.journal",
        session=session,
        key=key_by_index,
        choices=(),
        answer=None,
        actors=1,
        max_in_flight=max_in_flight,
        wait_for_endpoint=LIMIT,
        retry_failed=False,
        steered=steered,
        environment={},
        folder=str(folder),
        path=tuple(sys.path),
        backend="asyncio",
        backend_options={},
    )

    class Worker:
        """An actor like Ray Data's: its methods run in threads, which needs a class without coroutines."""

        def __init__(self) -> None:
            self._actor = CallActor(setup)

        def ask(self, table: Any) -> Any:
            return self._actor(table)

    return ray.remote(Worker).options(num_cpus=0, max_concurrency=4).remote()


def first_block(folder: Path) -> Any:
    """Return the first items of the input, as an actor gets them."""
    from headrace_ray.blocks import request_tables

    spec = JobSpec("Sort {name} at {price}", "m", None, None, {}, None)
    (file,) = find_files(str(folder / "in"))
    source = file.source(None, None)
    return next(request_tables(((item.index, item) for item in source.items()), spec.task(source)))


@pytest.mark.usefixtures("cluster")
def test_an_actor_that_outlives_its_command_ends_when_the_run_continues(
    tmp_path: Path, serving: Serving
) -> None:
    import ray

    write_rows(tmp_path / "in", 1, ROWS)
    out = tmp_path / "out"
    with serving(Behaviour(latency=0.2)) as url:
        run(job(tmp_path, url, limit=10))
        (out / ".shared-orphan").mkdir()
        actor = start_actor(tmp_path, url, "orphan", max_in_flight=2)
        answer = actor.ask.remote(first_block(tmp_path).slice(10))
        end = time.monotonic() + LIMIT
        while len(lines_in(out)) < 20:
            assert time.monotonic() < end, "the actor makes no progress"
            time.sleep(0.05)
        rest = run(job(tmp_path, url))
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(answer, timeout=LIMIT)
    assert rest.done_before >= 20
    assert (rest.done_before + rest.succeeded, rest.left) == (ROWS, 0)
    check_once_each(out, 1, ROWS)
    assert not list(out.glob(".*"))


@pytest.mark.usefixtures("cluster")
def test_an_actor_that_starts_after_its_session_does_nothing(tmp_path: Path) -> None:
    import ray

    write_rows(tmp_path / "in", 1, ROWS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.journal").touch()
    actor = start_actor(tmp_path, "http://127.0.0.1:9/v1", "late", max_in_flight=2)
    with pytest.raises(ray.exceptions.RayActorError, match="another run has replaced this one"):
        ray.get(actor.ask.remote(first_block(tmp_path)), timeout=LIMIT)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.journal"]


@pytest.mark.usefixtures("cluster")
def test_a_block_sent_to_an_actor_again_is_done_once(
    tmp_path: Path, serving: Serving, requests_at: Callable[[str], int]
) -> None:
    import ray

    write_rows(tmp_path / "in", 1, ROWS)
    out = tmp_path / "out"
    (out / ".shared-this").mkdir(parents=True)
    (out / "run.journal").touch()
    block = first_block(tmp_path)
    with serving(Behaviour(latency=0.1)) as url:
        actor = start_actor(tmp_path, url, "this", max_in_flight=40)
        answers = ray.get([actor.ask.remote(block) for _ in range(3)], timeout=LIMIT)
        assert requests_at(url) == block.num_rows
    shared = [path.name for path in (out / ".shared-this").iterdir()]
    assert shared == ["place-0"], "an actor that nobody looks at writes reports"
    ray.kill(actor)
    for answer in answers:
        assert pickle.loads(answer.column("summary")[0].as_py()).succeeded == block.num_rows
    assert len({line["custom_id"] for line in lines_in(out)}) == len(lines_in(out)) == block.num_rows


def test_a_restarted_actor_waits_for_its_earlier_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shards, "_RELEASE_LIMIT", 0.3)
    monkeypatch.setattr(shards, "_NOTICE_DELAY", 0.1)
    before = ActorShard(tmp_path, "session", "a")
    ActorShard(tmp_path, "session", "another").wait_for_predecessors()
    again = ActorShard(tmp_path, "session", "a")
    with pytest.raises(JournalError, match="an actor that should have ended still holds it; end its process"):
        again.wait_for_predecessors()
    notice = capfd.readouterr().err
    assert notice == f"Waiting for an earlier actor to end: it still holds {before.path.name}.\n"
    before.lines.close()
    again.wait_for_predecessors()
    assert not list(tmp_path.glob(".*"))
