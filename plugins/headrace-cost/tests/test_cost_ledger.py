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
from headrace_cost.shared_ledger import Ledger

ONE_USD = Decimal(1)


@pytest.mark.anyio
async def test_ledgers_on_one_file_share_a_budget(tmp_path: Path) -> None:
    ours, theirs = Ledger(Decimal(2), tmp_path / "cost"), Ledger(Decimal(2), tmp_path / "cost")
    assert await ours.reserve(ONE_USD)
    assert await theirs.reserve(ONE_USD)
    assert not await theirs.reserve(Decimal("2.01"))
    ours.settle(ONE_USD, Decimal("0.5"))
    theirs.settle(ONE_USD, Decimal("0.75"))
    assert ours.spent == theirs.spent == Decimal("1.25")
    assert not await ours.reserve(ONE_USD)
    assert await ours.reserve(Decimal("0.75"))


@pytest.mark.anyio
async def test_ledger_waits_for_amounts_that_others_release(tmp_path: Path) -> None:
    ours, theirs = Ledger(ONE_USD, tmp_path / "cost"), Ledger(ONE_USD, tmp_path / "cost")
    assert await theirs.reserve(ONE_USD)
    granted: list[bool] = []

    async def wait() -> None:
        granted.append(await ours.reserve(Decimal("0.5")))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert granted == []
        theirs.settle(ONE_USD, Decimal("0.25"))
    assert granted == [True]


@pytest.mark.anyio
async def test_reservations_of_a_dead_process_count_as_spent(tmp_path: Path) -> None:
    program = (
        "import sys, anyio; from decimal import Decimal; from pathlib import Path\n"
        "from headrace_cost.shared_ledger import Ledger\n"
        "assert anyio.run(Ledger(Decimal(1), Path(sys.argv[1])).reserve, Decimal('0.75'))"
    )
    path = tmp_path / "cost"
    await anyio.run_process([sys.executable, "-c", program, str(path)])
    ledger = Ledger(ONE_USD, path)
    assert ledger.spent == 0
    assert not await ledger.reserve(Decimal("0.5"))
    assert await ledger.reserve(Decimal("0.25"))
    assert ledger.spent == Decimal("0.75")


@pytest.mark.anyio
async def test_process_of_another_user_counts_as_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cost"
    path.write_bytes(msgspec.json.encode({"spent": "0", "reserved": {"1": "1"}}))

    def kill(process: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    with anyio.move_on_after(0.2) as scope:
        await Ledger(ONE_USD, path).reserve(ONE_USD)
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_policy_uses_a_ledger_in_the_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SHARED_FOLDER", str(tmp_path))
    cost = Cost(budget="1", prices={"fake-model": {"input": "1", "output": "2"}})
    async with FakeEndpoint(Answer(prompt_tokens=10, completion_tokens=5)).client([cost]) as client:
        await client.chat("Hallo", max_tokens=5)
    assert Ledger(ONE_USD, tmp_path / "cost").spent == Decimal("0.00002")
