"""Jobs that fail and are stopped at random places: no step of a row is answered twice."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.steps.conftest import PromptEndpoint, shop_answer
from tests.bulk.steps.test_steps import STEPS

import headrace

ROWS = [{"id": f"P{number}"} for number in range(12)]


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(6))
async def test_no_step_of_a_row_is_answered_twice(tmp_path: Path, seed: int) -> None:
    chance, answered = random.Random(seed), Counter[str]()

    def answer(prompt: str) -> Any:
        if chance.random() < 0.2:
            return chance.choice([400, "no answer"]) if prompt.startswith("Judge") else 400
        answered[prompt] += 1
        return shop_answer(prompt)

    endpoint, out, sessions = PromptEndpoint(answer), tmp_path / "out.jsonl", 0
    while True:
        sessions += 1
        stop_after = chance.randrange(1, 12)
        async with (
            endpoint.client(max_in_flight=chance.randrange(1, 6)) as client,
            headrace.run(client, ROWS, steps=STEPS, out=out, only="failed") as run,
        ):
            number = 0
            async for _ in run:
                number += 1
                if number == stop_after:
                    run.stop()
            result = await run.wait()
        if not result.left and not result.failed and not result.failed_before:
            break
    assert sessions > 1
    assert set(answered.values()) == {1}
    assert len(answered) == 12 + 4 + 4
    lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert sorted(line["custom_id"] for line in lines) == sorted(row["id"] for row in ROWS)
    for line in lines:
        steps = line["headrace"]["steps"]
        assert steps["category"] == shop_answer(f"Sort {line['custom_id']}")
        assert (steps["text"], steps["category"] == "garden") in {
            (None, False),
            (f"Buy {line['custom_id']}!", True),
        }
