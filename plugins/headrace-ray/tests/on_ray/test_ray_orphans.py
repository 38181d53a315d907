"""No row is done twice: actors that outlive their command, that Ray replaced, or that it gives work again."""

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
from headrace_ray.files import Asked, files_of
from headrace_ray.shards import OwnShard, by_place

from .conftest import lines_in, write_rows
from .test_ray_engine import LIMIT, check_once_each, job, run

Serving = Callable[[Behaviour], Any]
ROWS = 800


def start_actor(folder: Path, url: str, session: str, max_in_flight: int) -> Any:
    """An actor of a session whose command is no more, and which Ray does not end."""
    import ray

    from headrace_ray.actor import Asker, Setup

    setup = Setup(
        make_client=functools.partial(Client, base_url=url, model="m"),
        out=folder / "out",
        sidecar="run.journal",
        session=session,
        key=by_place,
        choices=(),
        answer=None,
        max_in_flight=max_in_flight,
        wait_for_endpoint=LIMIT,
        retry_failed=False,
        environment={},
        folder=str(folder),
        path=tuple(sys.path),
        backend="asyncio",
        backend_options={},
    )

    class Worker:
        """As Ray Data's: its calls are made in threads, which those of a class with coroutines are not."""

        def __init__(self) -> None:
            self._asker = Asker(setup)

        def ask(self, table: Any) -> Any:
            return self._asker(table)

    return ray.remote(Worker).options(num_cpus=0, max_concurrency=4).remote()


def first_block(folder: Path) -> Any:
    """The first items of the input, as an actor gets them."""
    from headrace_ray.blocks import tables

    asked = Asked("Sort {name} at {price}", "m", None, None, {}, None)
    (file,) = files_of(str(folder / "in"))
    source = file.source(None, None)
    return next(tables(((item.index, item) for item in source.items()), asked.of(source)))


@pytest.mark.usefixtures("cluster")
def test_an_actor_that_outlives_its_command_ends_when_the_run_is_gone_on_with(
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
def test_an_actor_that_comes_to_life_after_its_session_does_nothing(tmp_path: Path) -> None:
    import ray

    write_rows(tmp_path / "in", 1, ROWS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.journal").touch()
    actor = start_actor(tmp_path, "http://127.0.0.1:9/v1", "late", max_in_flight=2)
    with pytest.raises(ray.exceptions.RayActorError, match="another run has taken the place of this one"):
        ray.get(actor.ask.remote(first_block(tmp_path)), timeout=LIMIT)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.journal"]


@pytest.mark.usefixtures("cluster")
def test_a_block_that_an_actor_is_given_again_is_done_once(
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
    ray.kill(actor)
    for answer in answers:
        assert pickle.loads(answer.column("summary")[0].as_py()).succeeded == block.num_rows
    assert len({line["custom_id"] for line in lines_in(out)}) == len(lines_in(out)) == block.num_rows


def test_an_actor_that_is_started_again_waits_for_its_earlier_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shards, "_RELEASE_LIMIT", 0.3)
    monkeypatch.setattr(shards, "_SAY_AFTER", 0.1)
    before = OwnShard(tmp_path, "session", "a")
    OwnShard(tmp_path, "session", "another").wait_for_predecessors()
    again = OwnShard(tmp_path, "session", "a")
    with pytest.raises(JournalError, match="an actor that should have ended still has it; end its process"):
        again.wait_for_predecessors()
    said = capfd.readouterr().err
    assert said == f"Waiting for an earlier actor to end: it still has {before.path.name}.\n"
    before.lines.close()
    again.wait_for_predecessors()
    assert not list(tmp_path.glob(".*"))
