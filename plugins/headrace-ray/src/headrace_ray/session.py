"""One session of a run: a dataset of requests through the actors, what stops it, and what comes of it."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs
import ray

from headrace import Client, DeadlineExceeded, SettingsError
from headrace.bulk import Summary
from headrace_ray.actor import Asker, Setup
from headrace_ray.blocks import ROWS
from headrace_ray.folder import SIDECAR, Folder, translated
from headrace_ray.shards import KeyOf
from headrace_ray.stop import INTERRUPT, Stop

_BLOCKS = 3
"""Blocks that an actor works on at once: the end of one and the beginning of the next overlap."""

_READ_BYTES = 16 << 20
"""The size of the blocks in which the input is read, before they are cut to `ROWS` items."""

_PREFIXES, _SUFFIX = ("OPENAI_", "HEADRACE_", "SSL_CERT_"), "_KEY"


@attrs.frozen(kw_only=True)
class Crowd:
    """The actors: how many (None: one for every two processors of the cluster), and what each is to do."""

    actors: int | None
    make_client: Callable[[], Client]
    max_in_flight: int
    choices: tuple[str, ...]
    answer: Any
    key: KeyOf
    wait_for_endpoint: float
    deadline: float | None
    retry_failed: bool
    backend: str = "asyncio"

    def number(self) -> int:
        """How many actors; raises `SettingsError` where there are not as many places in flight."""
        number = self.actors or min(max(1, int(_processors() // 2)), self.max_in_flight)
        if not 1 <= number <= self.max_in_flight:
            raise SettingsError(
                f"actors={number}: must be at least 1, and at most max_in_flight={self.max_in_flight}"
            )
        return number


def _processors() -> float:
    return float(ray.cluster_resources().get("CPU", 1))


def perform(requests: Any, folder: Folder, crowd: Crowd, total: int | None) -> Summary:
    """Send a dataset of requests; ``total`` is the number of all items, None where it is not known."""
    actors, started = crowd.number(), time.monotonic()
    done_before = sum(len(keys) for keys in folder.keys)
    failed_before = sum(len(keys) for keys in folder.failed)
    summary = Summary(0, done_before=done_before, failed_before=failed_before)
    came = 0
    with _stops(folder.stop, crowd.deadline), translated():
        for batch in _mapped(requests, folder, crowd, actors).iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            for pickled in batch.column("summary").to_pylist():
                block: Summary = pickle.loads(pickled)
                summary.merge(block)
                came += block.total
    summary.total = done_before + came if total is None else total
    summary.elapsed = time.monotonic() - started
    summary.stopped_by = folder.stop.reason()
    return summary


def _mapped(requests: Any, folder: Folder, crowd: Crowd, actors: int) -> Any:
    from ray.data import ActorPoolStrategy

    # What is left over goes to no actor: a place or two, of many.
    setup = Setup(
        make_client=crowd.make_client,
        out=folder.path,
        sidecar=SIDECAR,
        session=folder.session,
        key=crowd.key,
        choices=crowd.choices,
        answer=crowd.answer,
        max_in_flight=crowd.max_in_flight // actors,
        wait_for_endpoint=crowd.wait_for_endpoint,
        retry_failed=crowd.retry_failed,
        environment=_environment(),
        folder=os.getcwd(),
        path=tuple(sys.path),
        backend=crowd.backend,
        backend_options={"use_uvloop": True} if crowd.backend == "asyncio" and _has_uvloop() else {},
    )
    requests.context.target_max_block_size = _READ_BYTES
    requests.context.enable_progress_bars = sys.stderr.isatty()
    return requests.repartition(target_num_rows_per_block=ROWS).map_batches(
        Asker,
        fn_constructor_args=[setup],
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ActorPoolStrategy(
            size=actors,
            max_tasks_in_flight_per_actor=_BLOCKS + 1,
            max_concurrent_calls_per_actor=_BLOCKS,
            enable_true_multi_threading=True,
        ),
        # Half of the processors at most are the actors', so that there are some to read with.
        num_cpus=min(1.0, _processors() / (2 * actors)),
    )


def _environment() -> dict[str, str]:
    """What of this process's environment settings are read from: an actor's machine may have another."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_PREFIXES) or name.endswith(_SUFFIX) or name.lower().endswith("_proxy")
    }


def _has_uvloop() -> bool:
    from importlib.util import find_spec

    return find_spec("uvloop") is not None


@contextmanager
def _stops(stop: Stop, deadline: float | None) -> Iterator[None]:
    """What stops a session from here: its deadline, and signals (the second one drops calls in flight)."""
    handled = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()

    def obey(number: int, frame: FrameType | None) -> None:
        if stop.given:
            for each in handled:  # the next one ends this process
                signal.signal(each, before[each])
            stop.give(INTERRUPT, drop=True)
            return
        stop.give(INTERRUPT)
        print("Stopping: calls in flight are being finished. Ctrl-C again drops them.", file=sys.stderr)

    def pass_deadline() -> None:
        stop.give(DeadlineExceeded(f"the run's deadline of {deadline:g} s passed"), drop=True)

    before = {each: signal.signal(each, obey) for each in handled}
    timer = None if deadline is None else threading.Timer(deadline, pass_deadline)
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        for each in handled:
            signal.signal(each, before[each])


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Ray, for the block: as it is where it is started already, else that at an address, or one here."""
    if ray.is_initialized():
        yield
        return
    # Said by nobody: a run tells no third party of itself, and workers have this environment, not another.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    ours = {"include_dashboard": False} if address is None else {}
    try:
        ray.init(address=address or "local", logging_level="warning", log_to_driver=False, **ours)
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise SettingsError(f"--ray-address {address}: no cluster there: {said}") from error
    try:
        yield
    finally:
        ray.shutdown()
