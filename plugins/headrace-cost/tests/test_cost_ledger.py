"""A budget that several processes share."""

from __future__ import annotations

import os
import sys
from decimal import Decimal
from pathlib import Path

import anyio
import msgspec
import pytest

from headrace.testing import Answer, FakeEndpoint
from headrace_cost import Cost
from headrace_cost.ledger import Ledger

ONE = Decimal(1)


@pytest.mark.anyio
async def test_two_ledgers_over_one_file_are_one_budget(tmp_path: Path) -> None:
    ours, theirs = Ledger(Decimal(2), tmp_path / "cost"), Ledger(Decimal(2), tmp_path / "cost")
    assert await ours.reserve(ONE)
    assert await theirs.reserve(ONE)
    assert not await theirs.reserve(Decimal("2.01"))
    ours.settle(ONE, Decimal("0.5"))
    theirs.settle(ONE, Decimal("0.75"))
    assert ours.spent == theirs.spent == Decimal("1.25")
    assert not await ours.reserve(ONE)
    assert await ours.reserve(Decimal("0.75"))


@pytest.mark.anyio
async def test_waits_for_what_others_may_give_back(tmp_path: Path) -> None:
    ours, theirs = Ledger(ONE, tmp_path / "cost"), Ledger(ONE, tmp_path / "cost")
    assert await theirs.reserve(ONE)
    granted: list[bool] = []

    async def wait() -> None:
        granted.append(await ours.reserve(Decimal("0.5")))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert granted == []
        theirs.settle(ONE, Decimal("0.25"))
    assert granted == [True]


@pytest.mark.anyio
async def test_what_a_dead_process_had_reserved_counts_as_spent(tmp_path: Path) -> None:
    program = (
        "import sys, anyio; from decimal import Decimal; from pathlib import Path\n"
        "from headrace_cost.ledger import Ledger\n"
        "assert anyio.run(Ledger(Decimal(1), Path(sys.argv[1])).reserve, Decimal('0.75'))"
    )
    path = tmp_path / "cost"
    await anyio.run_process([sys.executable, "-c", program, str(path)])
    ledger = Ledger(ONE, path)
    assert ledger.spent == 0
    assert not await ledger.reserve(Decimal("0.5"))
    assert await ledger.reserve(Decimal("0.25"))
    assert ledger.spent == Decimal("0.75")


@pytest.mark.anyio
async def test_a_process_of_somebody_else_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cost"
    path.write_bytes(msgspec.json.encode({"spent": "0", "reserved": {"1": "1"}}))

    def kill(process: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    with anyio.move_on_after(0.2) as scope:
        await Ledger(ONE, path).reserve(ONE)
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_the_policy_shares_where_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_SHARED_FOLDER", str(tmp_path))
    cost = Cost(budget="1", prices={"fake-model": {"input": "1", "output": "2"}})
    async with FakeEndpoint(Answer(prompt_tokens=10, completion_tokens=5)).client([cost]) as client:
        await client.chat("Hallo", max_tokens=5)
    assert Ledger(ONE, tmp_path / "cost").spent == Decimal("0.00002")
