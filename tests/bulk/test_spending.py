"""The spending of a run is counted over all its sessions."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

import headrace
from headrace.bulk import Journal, Summary, run
from headrace.bulk.item_result import ItemResult
from headrace.bulk.summary_text import describe
from headrace.errors import JournalError
from headrace.testing import FakeEndpoint
from headrace_cost import Cost
from headrace_retry import Retry

Lines = Callable[[Path], list[dict[str, Any]]]
PRINT = {"input": "abc", "parameters": None}
PRICES = {"fake-model": {"input": "1", "output": "2"}}
USD = Decimal("0.00002")
"""The cost of a fake answer at these prices."""


def line(index: int, cost: str | None = None, possible: str | None = None, *, failed: bool = False) -> bytes:
    notes = {"attempts": 1, "elapsed": 0.1, "cost": cost, "possible_cost": possible}
    fields = {
        "id": f"headrace-{index}",
        "custom_id": f"q{index}",
        "error": {"code": "x", "message": "y"} if failed else None,
        "headrace": {name: value for name, value in notes.items() if value is not None},
    }
    return msgspec.json.encode(fields) + b"\n"


def journal(folder: Path) -> Journal:
    return Journal(folder / "out.jsonl", PRINT)


def test_a_journal_knows_the_cost_of_earlier_sessions(tmp_path: Path) -> None:
    with journal(tmp_path) as first:
        assert first.spent == 0
        first.append([0, 1], line(0, "0.25") + line(1))
        first.append([2, 3], line(2, "1", "0.5") + line(3, None, "0.125", failed=True))
    with journal(tmp_path) as second:
        assert second.spent == Decimal("1.875")


def test_the_cost_of_dropped_lines_is_kept(tmp_path: Path) -> None:
    with journal(tmp_path) as first:
        first.append([0, 1], line(0, "0.25") + line(1, "0.5", failed=True))
    with journal(tmp_path) as second:
        assert len(second.remove(second.has_failed)) == 1
        second.append([1], line(1, "0.5", failed=True))
        assert second.spent == Decimal("0.75")
    for spent in ("1.25", "1.25"):
        with journal(tmp_path) as third:
            assert third.spent == Decimal(spent)
            third.remove(third.has_failed)
    sidecar = tmp_path / "out.jsonl.journal"
    whole = sidecar.read_bytes()
    sidecar.write_bytes(whole[:-3])  # as a crash may leave it: the sum before that is known
    with journal(tmp_path) as torn:
        assert torn.spent == Decimal("0.75")
        torn.append([1], line(1, "4", failed=True))
    with journal(tmp_path) as mended:
        mended.remove(mended.has_failed)
        assert mended.spent == Decimal("4.75")
    with journal(tmp_path) as last:
        assert last.spent == Decimal("4.75")


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, {"max_tokens": 100}),
        ({"max_tokens": 100}, None),
        ({"max_tokens": 100}, {"max_tokens": 200}),
        ({"max_tokens": 100, "seed": 1}, {"max_completion_tokens": 50, "seed": 1}),
    ],
)
def test_output_limits_may_change_between_sessions(
    tmp_path: Path, before: dict[str, Any] | None, now: dict[str, Any] | None
) -> None:
    with Journal(tmp_path / "out.jsonl", {"parameters": before}):
        pass
    with Journal(tmp_path / "out.jsonl", {"parameters": now}):
        pass
    other = {**(now or {}), "temperature": 1}
    with (
        pytest.raises(JournalError, match="the parameters changed"),
        Journal(tmp_path / "out.jsonl", {"parameters": other}),
    ):
        pass


@pytest.mark.anyio
async def test_a_budget_is_for_all_sessions_of_a_run(products: Path, read_lines: Lines) -> None:
    out, limit = products.with_name("out.jsonl"), Decimal("0.0002")
    parameters = {"max_tokens": 5}

    async def session(budget: Decimal) -> Summary:
        async with FakeEndpoint().client([Cost(prices=PRICES, budget=budget)], max_in_flight=1) as client:
            return await run(client, products, prompt="{name}", out=out, parameters=parameters)

    first = await session(limit)
    assert isinstance(first.stopped_by, headrace.BudgetExceeded)
    assert 3 < first.succeeded < 10
    again = await session(limit)
    assert again.succeeded == 0
    assert first.cost is not None
    assert f"{first.cost.normalize():f} of the budget of 0.0002 USD are spent" in str(again.stopped_by)
    more = await session(limit + 2 * USD)
    assert more.succeeded == 2
    last = await session(Decimal(1))
    assert last.left == 0
    assert sum(Decimal(each["headrace"]["cost"]) for each in read_lines(out)) == 10 * USD


@pytest.mark.anyio
async def test_one_policy_in_two_sessions_counts_once(products: Path) -> None:
    cost = Cost(prices=PRICES, budget=Decimal(1))
    for limit in (4, 10):
        async with FakeEndpoint().client([cost]) as client:
            await run(client, products, prompt="{name}", out=products.with_name("out.jsonl"), limit=limit)
    assert cost.spent == 10 * USD


@pytest.mark.anyio
async def test_possible_costs_are_written_and_summed(products: Path, read_lines: Lines) -> None:
    out, cut = products.with_name("out.jsonl"), headrace.CallTimeout("too late")
    steps: dict[str, list[str | Exception]] = {"0": ["ok"], "1": [cut, "ok"], "2": [cut, cut], "3": ["ok"]}

    class ByItem(FakeEndpoint):
        async def handle(self, call: headrace.Call) -> headrace.Reply:
            # A call that waits for a retry lets others pass, so the order varies.
            item = str((call.request.body or {})["messages"][0]["content"])
            self.then(steps[item[-1]].pop(0))
            return await super().handle(call)

    endpoint = ByItem()
    policies: list[headrace.Policy] = [Cost(prices=PRICES), Retry(attempts=2, base=0)]
    async with endpoint.client(policies, max_in_flight=1) as client:
        summary = await run(client, products, prompt="{name}", out=out, parameters={"max_tokens": 5}, limit=4)
    lines = sorted(read_lines(out), key=lambda line: line["custom_id"])
    notes = [line["headrace"] for line in lines]
    assert [each.get("cost") is not None for each in notes] == [True, True, False, True]
    assert ["possible_cost" in each for each in notes] == [False, True, True, False]
    assert summary.cost == 3 * USD
    possible = sum(Decimal(each.get("possible_cost", "0")) for each in notes)
    assert summary.possible_cost == possible > 3 * USD
    assert "possible   at most $0.000" in describe(summary)
    with Journal(out, {}) as resumed:
        assert resumed.spent == summary.cost + possible


@pytest.mark.anyio
async def test_the_line_of_a_rejected_answer_has_its_cost(products: Path, read_lines: Lines) -> None:
    out = products.with_name("out.jsonl")
    async with FakeEndpoint(otherwise="none of it").client([Cost(prices=PRICES)]) as client:
        summary = await run(client, products, prompt="{name}", out=out, answer=bool)
    assert (summary.failed, summary.cost) == (10, 10 * USD)
    assert {each["headrace"]["cost"] for each in read_lines(out)} == {"0.000020"}


def test_a_summary_adds_the_cost_of_failures() -> None:
    summary, other = Summary(3), Summary(0)
    summary.add(ItemResult(0, b"-", 1, 0.1, True, cost=Decimal("0.5")))
    summary.add(ItemResult(1, b"-", 2, 0.1, cost=Decimal("0.25"), code="timeout", possible_cost=Decimal(1)))
    other.add(ItemResult(2, b"-", 1, 0.1, code="timeout", possible_cost=Decimal(2)))
    summary.merge(other)
    assert (summary.cost, summary.possible_cost, summary.unpriced) == (Decimal("0.75"), Decimal(3), 0)
