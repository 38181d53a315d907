"""The sessions of one command: each sends a dataset of requests through the actors.

A second session follows if failed items are to be sent again.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs
import ray

from headrace import Client, DeadlineExceeded, SettingsError
from headrace.bulk import Summary, accompanied_in_thread
from headrace_ray.actor import ActorSetup, CallActor
from headrace_ray.blocks import BLOCK_ROWS
from headrace_ray.control import RayControl
from headrace_ray.folder import SIDECAR, OutputFolder, translated_errors
from headrace_ray.orders import ActorOrders
from headrace_ray.shards import KeyOf
from headrace_ray.stop import INTERRUPT

_BLOCKS_PER_ACTOR = 3
"""Blocks that an actor works on at once: the end of one overlaps with the beginning of the next."""

_READ_BLOCK_BYTES = 16 << 20
"""The size of the blocks in which the input is read, before they are split into `BLOCK_ROWS` items."""

_PREFIXES, _SUFFIX = ("OPENAI_", "HEADRACE_", "SSL_CERT_"), "_KEY"


@attrs.frozen(kw_only=True)
class ActorPoolConfig:
    """How many actors there are (None: half as many as the cluster has processors), and their settings.

    ``policies`` are those of a client that ``make_client`` has made: they know which limits can be changed.
    """

    actors: int | None
    make_client: Callable[[], Client]
    policies: Sequence[Any]
    max_in_flight: int
    choices: tuple[str, ...]
    answer: Any
    key: KeyOf
    wait_for_endpoint: float
    deadline: float | None
    backend: str = "asyncio"

    def actor_count(self) -> int:
        """Return the number of actors; raise `SettingsError` if it is above ``max_in_flight``."""
        number = self.actors or min(max(1, int(_processors() // 2)), self.max_in_flight)
        if not 1 <= number <= self.max_in_flight:
            raise SettingsError(
                f"actors={number}: must be at least 1, and at most max_in_flight={self.max_in_flight}"
            )
        return number


def _processors() -> float:
    """Return the number of processors of the cluster."""
    return float(ray.cluster_resources().get("CPU", 1))


def run_sessions(
    make_requests: Callable[[], Any], folder: OutputFolder, pool: ActorPoolConfig, total: int | None
) -> Summary:
    """Send requests, and those of failed items again if that is asked for meanwhile.

    Args:
        make_requests: Returns the dataset of requests for the items that are not done, by ``folder``.
        folder: The output folder, entered.
        pool: The configuration of the actors.
        total: The number of all items; None if it is not known.
    """
    actors, started = pool.actor_count(), time.monotonic()
    done_before = sum(len(keys) for keys in folder.keys)
    failed_before = sum(len(keys) for keys in folder.failed)
    summary = Summary(0, done_before=done_before, failed_before=failed_before)
    orders = ActorOrders(folder.stop.shared, actors, pool.max_in_flight)
    control = RayControl(folder, orders, actors=actors, policies=pool.policies, before=summary, total=total)
    with (
        _stop_handlers(folder, pool.deadline),
        accompanied_in_thread(control) as steered,
        translated_errors(),
    ):
        while True:
            summaries = _map_requests(make_requests(), folder, pool, actors, steered=steered)
            processed = _add_up(summaries, summary)
            if total is None:
                total = done_before + processed
            summary.total, summary.elapsed = total, time.monotonic() - started
            summary.stopped_by = folder.stop.reason()
            if not control.end_session(summary):
                return summary
            folder.begin_again()
            control.begin_session()


def _add_up(summaries: Any, summary: Summary) -> int:
    """Add the pickled summaries of blocks to a summary, as they come; return the number of their items."""
    processed = 0
    for batch in summaries.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for pickled in batch.column("summary").to_pylist():
            block: Summary = pickle.loads(pickled)
            summary.merge(block)
            processed += block.total
    return processed


def _map_requests(
    requests: Any, folder: OutputFolder, pool: ActorPoolConfig, actors: int, *, steered: bool
) -> Any:
    """Map a dataset of requests over the actors; the result has one pickled summary per block."""
    from ray.data import ActorPoolStrategy

    setup = ActorSetup(
        make_client=pool.make_client,
        out=folder.path,
        sidecar=SIDECAR,
        session=folder.session,
        key=pool.key,
        choices=pool.choices,
        answer=pool.answer,
        actors=actors,
        max_in_flight=pool.max_in_flight,
        wait_for_endpoint=pool.wait_for_endpoint,
        retry_failed=folder.retry_failed,
        steered=steered,
        environment=_environment(),
        folder=os.getcwd(),
        path=tuple(sys.path),
        backend=pool.backend,
        backend_options={"use_uvloop": True} if pool.backend == "asyncio" and _has_uvloop() else {},
    )
    requests.context.target_max_block_size = _READ_BLOCK_BYTES
    requests.context.enable_progress_bars = sys.stderr.isatty()
    return requests.repartition(target_num_rows_per_block=BLOCK_ROWS).map_batches(
        CallActor,
        fn_constructor_args=[setup],
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ActorPoolStrategy(
            size=actors,
            max_tasks_in_flight_per_actor=_BLOCKS_PER_ACTOR + 1,
            max_concurrent_calls_per_actor=_BLOCKS_PER_ACTOR,
            enable_true_multi_threading=True,
        ),
        # The actors get at most half of the processors, so that some are left for reading.
        num_cpus=min(1.0, _processors() / (2 * actors)),
    )


def _environment() -> dict[str, str]:
    """Return the environment variables that hold settings; the machine of an actor may have other values."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_PREFIXES) or name.endswith(_SUFFIX) or name.lower().endswith("_proxy")
    }


def _has_uvloop() -> bool:
    from importlib.util import find_spec

    return find_spec("uvloop") is not None


@contextmanager
def _stop_handlers(folder: OutputFolder, deadline: float | None) -> Iterator[None]:
    """Stop the session at the deadline and on signals; the second signal drops calls in flight."""
    handled = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()

    def handle(number: int, frame: FrameType | None) -> None:
        if folder.stop.requested:
            for each in handled:  # the next signal ends this process
                signal.signal(each, before[each])
            folder.request_stop(INTERRUPT, drop=True)
            return
        folder.request_stop(INTERRUPT)
        print("Stopping: calls in flight are being finished. Ctrl-C again drops them.", file=sys.stderr)

    def pass_deadline() -> None:
        folder.request_stop(DeadlineExceeded(f"the run's deadline of {deadline:g} s passed"), drop=True)

    before = {each: signal.signal(each, handle) for each in handled}
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
def ray_cluster(address: str | None) -> Iterator[None]:
    """Use Ray inside the block: the running instance, the cluster at an address, or a new local cluster."""
    if ray.is_initialized():
        yield
        return
    # A run reports nothing to third parties, and workers use this environment.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    options = {"include_dashboard": False} if address is None else {}
    try:
        ray.init(address=address or "local", logging_level="warning", log_to_driver=False, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"--ray-address {address}: cannot connect to a Ray cluster: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()
