"""The engine ``batch``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from headrace import Client, JournalError
from headrace_batch.options import MOST_BYTES, MOST_REQUESTS, BatchOptions, click_options, with_click_values

if TYPE_CHECKING:
    from headrace.bulk import EngineSetup, Executor


class BatchEngine:
    """Makes the calls of a bulk run in batches of the endpoint, for about half the price.

    Args:
        max_requests: The largest number of rows in a batch.
        max_bytes: The largest size of a batch's file.
        max_tokens: The most prompt tokens of a model in all batches that have not ended, as estimated.
            Without it, a batch for which the endpoint has no room is created again when another has ended.
        poll: The longest time between two looks at a batch, in seconds.
        detach: Leave when all batches are created. The same run without it fetches the results.
        stragglers: "batch" sends rows that a batch did not finish in a further batch, "sync" as ordinary
            calls.
        finish_by: The local time, like "06:00", at which the batches are cancelled and the rest is sent as
            ordinary calls.
        adopt: The ids of batches that another program created, like the openai SDK. Their results become
            those of the rows with the same ids; the other rows are sent.

    Raises:
        SettingsError: A value is not valid.

    Example:
        ```python
        engine = headrace_batch.BatchEngine(stragglers="sync")
        await headrace.run(client, "products.csv", out="answers.jsonl", prompt="Sort {name}", engine=engine)
        ```
    """

    name = "batch"

    def __init__(
        self,
        *,
        max_requests: int = MOST_REQUESTS,
        max_bytes: int = MOST_BYTES,
        max_tokens: int | None = None,
        poll: float = 60.0,
        detach: bool = False,
        stragglers: Literal["batch", "sync"] = "batch",
        finish_by: str | None = None,
        adopt: Sequence[str] = (),
    ) -> None:
        self._options = BatchOptions(
            max_requests=max_requests,
            max_bytes=max_bytes,
            max_tokens=max_tokens,
            poll=poll,
            detach=detach,
            stragglers=stragglers,
            finish_by=finish_by,
            adopt=adopt,
        )

    @property
    def options(self) -> Sequence[click.Option]:
        """The additional options of ``headrace run``."""
        return click_options()

    def price_of(self, client: Client) -> Callable[[str, int, int], Decimal | None] | None:
        """A function that prices tokens of a model in a batch; None without prices.

        Raises:
            NoBatchesError: No endpoint of the client is known to have batches.
        """
        from headrace_batch.endpoints import check_hosts
        from headrace_batch.pricing import price_of

        check_hosts(client)
        return price_of(client)

    def open_executor(
        self, setup: EngineSetup, options: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[Executor]:
        """Open the executor of a session."""
        # Imported here, because every headrace client imports its plugins.
        from headrace_batch.opening import open_executor

        return open_executor(setup, with_click_values(self._options, options))


def batch_folder(out: Path, run: str) -> Path:
    """The folder with the ledger and the files of a run's batches.

    An output that was renamed, as ``fresh=True`` does, has its folder under the former name.
    """
    real, end = out.resolve(), f".batch-{run}"
    usual = real.with_name(real.name + end)
    if usual.exists():
        return usual
    former = (each for each in sorted(real.parent.iterdir()) if each.name.endswith(end))
    return next(
        (each for each in former if not _is_of(each.with_name(each.name.removesuffix(end)), run)), usual
    )


def _is_of(out: Path, run: str) -> bool:
    """Whether a file is an output of a run; a copy of it must not use the same folder."""
    from headrace.bulk import run_identity

    try:
        return run_identity(out).id == run
    except JournalError:
        return False
