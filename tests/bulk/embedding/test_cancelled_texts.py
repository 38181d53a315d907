"""Rows whose texts are embedded are cancelled, while their batches are in flight and before."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import anyio
import attrs
import pytest
from tests.bulk.control.held_endpoint import until
from tests.bulk.embedding.text_endpoint import Priced, TextEndpoint

from headrace import Call, Reply
from headrace.bulk import Result, Run, run

pytestmark = pytest.mark.anyio

ROWS = [{"id": f"P{number}", "name": "x" * (number + 1)} for number in range(10)]


@attrs.define
class HeldTextEndpoint(TextEndpoint):
    """Holds answers back until it is released."""

    in_flight: int = 0
    released: anyio.Event = attrs.field(factory=anyio.Event)

    def release(self) -> None:
        """Let the answers go that are held back."""
        released, self.released = self.released, anyio.Event()
        released.set()

    async def handle(self, call: Call) -> Reply:
        self.in_flight += 1
        try:
            await self.released.wait()
        finally:
            self.in_flight -= 1
        return await TextEndpoint.handle(self, call)


def embedding(client: Any, batch_size: int) -> Run:
    return run(client, ROWS, id_column="id", task="embed", column="name", batch_size=batch_size)


def outcomes(result: Result) -> dict[str, str | None]:
    """The code of each row, None for one that succeeded."""
    return {line.custom_id: None if line.error is None else line.error.code for line in result}


def costs(result: Result) -> Decimal:
    return sum((line.headrace.cost or Decimal(0) for line in result), Decimal(0))


async def release_until_ended(endpoint: HeldTextEndpoint, going: Run) -> Result:
    while going.snapshot().state != "ended":
        endpoint.release()
        await anyio.sleep(0.001)
    return await going.wait()


async def test_the_call_of_a_batch_goes_on_without_its_cancelled_rows() -> None:
    endpoint = HeldTextEndpoint()
    async with endpoint.client(max_in_flight=1, policies=[Priced("0.9")]) as client:
        going = embedding(client, 4)
        async with going:
            await until(lambda: endpoint.in_flight == 1)
            done = await going.cancel(["P1", "P3", "P6"])
            assert done.cancelled == ["P1", "P3", "P6"]
            assert going.snapshot().failed == 0
            result = await release_until_ended(endpoint, going)
    assert outcomes(result) == {row["id"]: None for row in ROWS} | dict.fromkeys(
        ["P1", "P3", "P6"], "cancelled"
    )
    assert [len(batch) for batch in endpoint.batches] == [4, 4, 1]  # P6 was not sent
    assert costs(result) == result.cost == 3 * Decimal("0.9")
    lines = {line.custom_id: line for line in result}
    assert lines["P1"].headrace.cost == Decimal("0.18")  # 2 of 10 bytes
    assert lines["P1"].vector is None
    assert lines["P6"].headrace.cost is None
    assert {id: list(line.vector or ())[:1] for id, line in lines.items() if line.vector} == {
        row["id"]: [len(row["name"])] for row in ROWS if row["id"] not in {"P1", "P3", "P6"}
    }


async def test_the_call_of_a_batch_of_which_all_rows_are_cancelled_is_cancelled() -> None:
    endpoint = HeldTextEndpoint()
    async with endpoint.client(max_in_flight=1) as client:
        going = embedding(client, 3)
        async with going:
            await until(lambda: endpoint.in_flight == 1)
            await going.cancel(["P0", "P1"])
            assert going.snapshot().failed == 0
            await going.cancel(["P2"])
            await until(lambda: going.snapshot().failed == 3)
            result = await release_until_ended(endpoint, going)
    assert (result.succeeded, result.failed) == (7, 3)
    assert [len(batch) for batch in endpoint.batches] == [3, 3, 1]


@pytest.mark.parametrize("cancelled", [["P0"], ["P0", "P2"], ["P1", "P3"], ["P0", "P1", "P2"], ["P7", "P9"]])
@pytest.mark.parametrize(
    "make",
    [
        lambda: HeldTextEndpoint(bad=lambda text: len(text) in {3, 8}),
        lambda: HeldTextEndpoint(most_texts=2),
        lambda: HeldTextEndpoint(base64=False),
        lambda: HeldTextEndpoint(error={"message": "broken"}, status=500),
    ],
)
async def test_cancelled_rows_are_not_sent_again_when_a_batch_is_rejected(
    make: Callable[[], HeldTextEndpoint], cancelled: list[str]
) -> None:
    endpoint = make()
    async with endpoint.client(max_in_flight=1, policies=[Priced("0.5")]) as client:
        going = embedding(client, 4)
        async with going:
            await until(lambda: endpoint.in_flight == 1)
            await going.cancel(cancelled)
            result = await release_until_ended(endpoint, going)
    found = outcomes(result)
    assert len(found) == 10
    assert {id for id, code in found.items() if code == "cancelled"} == set(cancelled)
    texts = {row["name"] for row in ROWS if row["id"] in cancelled}
    assert not any(texts.intersection(batch) for batch in endpoint.batches[1:])
    if endpoint.error is None:
        assert costs(result) == len(endpoint.batches) * Decimal("0.5")


async def test_cancelled_rows_of_a_run_that_pauses_for_its_endpoint_fail() -> None:
    endpoint = HeldTextEndpoint()
    async with endpoint.client(max_in_flight=1) as client:
        going = embedding(client, 4)
        async with going:
            await until(lambda: endpoint.in_flight == 1)
            going.pause()
            await going.cancel(["P0", "P5"])
            endpoint.release()
            await until(lambda: going.snapshot().done == 4)
            assert going.snapshot().failed == 1
            going.resume()
            result = await release_until_ended(endpoint, going)
    assert {id for id, code in outcomes(result).items() if code} == {"P0", "P5"}
