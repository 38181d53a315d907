"""Adopts batches that another program created, so that their results become those of the run's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from headrace import Request, SettingsError
from headrace.bulk import EngineSetup
from headrace.plugins import EncodedBody
from headrace_batch.batch_api import PartEndpoint
from headrace_batch.dialect import BatchState, BatchView, api_path
from headrace_batch.ledger import Ledger
from headrace_batch.marks import RUN
from headrace_batch.part import Part, Stage
from headrace_batch.part_file import PartWriter, decode_request_line, lines_of, part_path
from headrace_batch.part_steps import StepFailed, attempt
from headrace_batch.pricing import ZERO, PartMoney
from headrace_batch.requests_of_batch import fetch_requests, read_request

_NOT_FOUND = (400, 404)
"""Statuses with which endpoints answer for an id that they do not have."""


async def adopt(
    ids: Sequence[str],
    setup: EngineSetup,
    ledger: Ledger,
    endpoints: Sequence[PartEndpoint],
    money: PartMoney,
) -> None:
    """Add batches to the parts of a run. Those that it has already stay as they are.

    Args:
        ids: The ids of the batches.
        setup: The run.
        ledger: Its ledger.
        endpoints: Where the batches may be.
        money: Estimates what the batches cost.

    Raises:
        SettingsError: A batch cannot be adopted.
        StepFailed: The endpoint does not answer.
    """
    if ids and setup.calls != "single":
        raise SettingsError(
            "adopt=: leave out steps= and samples=; each request of an adopted batch is one of the rows"
        )
    for id in ids:
        if any(id == part.batch or id in part.refused for part in ledger.parts.values()):
            continue
        endpoint, batch = await _find(id, endpoints)
        if batch.metadata.get(RUN) == setup.run_id:
            setup.notify(f"Batch {id} was made by this run; it need not be adopted.")
            continue
        _check(batch)
        part = await _adopted_part(batch, ledger, endpoint, money, setup.notify)
        setup.note_calls(True)
        await ledger.adopt(part)
        setup.notify(f"Batch {id} with {part.rows:,} requests is adopted.")


async def _find(id: str, endpoints: Sequence[PartEndpoint]) -> tuple[PartEndpoint, BatchView]:
    for endpoint in endpoints:
        try:
            return endpoint, await attempt(lambda endpoint=endpoint: endpoint.api.batch(id), f"adopt={id}")  # type: ignore[misc]
        except StepFailed as error:
            if error.status not in _NOT_FOUND:
                raise
    urls = " and ".join(endpoint.calls.endpoint.base_url for endpoint in endpoints)
    raise SettingsError(
        f"adopt={id}: there is no such batch at {urls}; check the id, and that the key is of the project in "
        "which it was made"
    )


def _check(batch: BatchView) -> None:
    other = batch.metadata.get(RUN)
    if other is not None:
        raise SettingsError(
            f"adopt={batch.id}: this batch belongs to another run of headrace ({RUN} is {other}); run the "
            "command of that run again to fetch it"
        )
    if batch.state is BatchState.REFUSED:
        problem = batch.problems[0].message if batch.problems else "it gives no reason"
        raise SettingsError(
            f"adopt={batch.id}: the endpoint has refused this batch ({problem}); leave it out, and its rows "
            "are sent"
        )
    if batch.input_file is None:
        raise SettingsError(f"adopt={batch.id}: this batch has no file with its requests; leave it out")


async def _adopted_part(
    batch: BatchView,
    ledger: Ledger,
    endpoint: PartEndpoint,
    money: PartMoney,
    notify: Callable[[str], None],
) -> Part:
    number, file = max(ledger.parts, default=0) + 1, batch.input_file or ""
    try:
        fetched = await attempt(
            lambda: fetch_requests(endpoint, file, ledger.folder, number),
            f"adopt={batch.id}: fetch its requests",
        )
    except StepFailed as error:
        if error.status not in _NOT_FOUND:
            raise
        raise SettingsError(
            f"adopt={batch.id}: its file {file} is not at the endpoint any more, so its results belong to "
            "unknown requests; leave it out, and its rows are sent"
        ) from error
    if not fetched.rows:
        raise SettingsError(f"adopt={batch.id}: its file {file} has no requests; leave it out")
    if fetched.malformed:
        notify(f"Batch {batch.id}: {fetched.malformed:,} malformed lines in its file.")
    path, models, reserved, tokens = "", set(), ZERO, 0
    for _, line in lines_of(part_path(ledger.folder, number)):
        content = bytes(decode_request_line(line).body)
        found = read_request(line)
        url = found.url if found is not None else None
        path = api_path(url or "/chat/completions")
        request = Request(EncodedBody(content), path)
        models.add(request.model)
        needs = money.needs(request, content, endpoint.calls.endpoint)
        reserved, tokens = reserved + needs.reserved, tokens + needs.tokens
    return Part(
        number=number,
        rows=fetched.rows,
        size=fetched.size,
        digest=fetched.digest,
        path=path,
        model=models.pop() if len(models) == 1 else None,
        endpoint=endpoint.calls.endpoint.base_url,
        reserved=str(reserved),
        tokens=tokens,
        adopted=True,
        stage=Stage.CREATED,
        file=file,
        batch=batch.id,
    )


async def keep_rest(part: Part, ledger: Ledger, has_left: Callable[[str], bool]) -> None:
    """Replace an adopted part, which is merged, by one with the rows that were not asked for.

    Args:
        part: The part.
        ledger: The ledger of the run.
        has_left: Whether a row may still get the batch's result.
    """
    writer = PartWriter(ledger.folder, part.number)
    for custom_id, line in lines_of(part_path(ledger.folder, part.number)):
        if has_left(custom_id):
            writer.add(line)
    rest = Part(
        number=part.number,
        rows=writer.rows,
        size=writer.size,
        digest=writer.finish(),
        path=part.path,
        model=part.model,
        endpoint=part.endpoint,
        reserved=str(Decimal(part.reserved) * writer.rows / part.rows),
        adopted=True,
        stage=Stage.KEPT,
        file=part.file,
        batch=part.batch,
    )
    await ledger.adopt(rest)
    if part.cancelled:
        await ledger.cancel(rest, part.cancelled)
