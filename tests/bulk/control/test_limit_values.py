"""Whatever value a limit is set to: it is taken, or refused with one line of headrace's own."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bulk.control.held_endpoint import HeldEndpoint

from headrace.bulk import Run, run
from headrace.errors import ControlRefused
from headrace.policies import Policy, Send, Stage
from headrace_cost import Cost
from headrace_pace import Pace

pytestmark = pytest.mark.anyio


class OwnLimit:
    """A policy of a plugin that raises Python's own errors."""

    name = "own"
    stage = Stage.PACE

    def __init__(self) -> None:
        self.limit = 5.0

    def wrap(self, send: Send) -> Send:
        return send

    def adjustable_limits(self) -> dict[str, float | None]:
        return {"own": self.limit}

    def set_limit(self, name: str, value: Any) -> None:
        limit = float(value)
        if not 0 < limit < 100:
            raise ValueError("must be from 0 to 100")
        self.limit = limit


def started(endpoint: HeldEndpoint, client: Any, products: Path) -> Run:
    return run(client, products, prompt="{name}", out=products.with_name("out.jsonl"))


NO_LIMITS: tuple[Any, ...] = (
    *(10**5000, -(10**5000), 10**30, "9" * 5000, math.inf, -math.inf, math.nan, "1e400", "-inf", "nan"),
    *(True, np.bool_(True), np.float64("nan"), np.array([1, 2]), Decimal("NaN"), Decimal("sNaN")),
    *(b"5", [5], object(), -1, np.int64(-1), Fraction(-1, 2), Decimal("1e999999")),
)


@pytest.mark.parametrize("name", ["max-in-flight", "requests-per-minute", "budget", "own"])
async def test_a_value_that_is_no_limit_is_refused_in_one_line(products: Path, name: str) -> None:
    endpoint = HeldEndpoint()
    policies: list[Policy] = [Pace(), Cost(prices={}, budget="7"), OwnLimit()]
    async with endpoint.client(policies) as client, started(endpoint, client, products) as going:
        before = going.snapshot().limits
        for value in NO_LIMITS:
            with pytest.raises(ControlRefused) as caught:
                going.set_limit(name, value)
            assert name in str(caught.value)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 250
        assert going.snapshot().limits == before


@pytest.mark.parametrize("name", ["max-in-flight", "requests-per-minute", "own"])
@pytest.mark.parametrize("value", [0, -0.0, "-0", "0"])
async def test_no_limit_can_be_zero_except_a_budget(products: Path, name: str, value: Any) -> None:
    endpoint = HeldEndpoint()
    policies: list[Policy] = [Pace(), Cost(prices={}, budget="7"), OwnLimit()]
    async with endpoint.client(policies) as client, started(endpoint, client, products) as going:
        with pytest.raises(ControlRefused, match=name):
            going.set_limit(name, value)
        going.set_limit("budget", value)
        assert float(going.snapshot().limits["budget"] or 0) == 0


@pytest.mark.parametrize("name", ["max-in-flight", "requests-per-minute", "budget"])
async def test_numbers_of_other_libraries_are_limits(products: Path, name: str) -> None:
    endpoint, policies = HeldEndpoint(), list[Policy]([Pace(), Cost(prices={}, budget="7")])
    values: list[Any] = [5, "6", np.int64(7), np.uint8(8)]
    if name != "max-in-flight":
        values += [9.0, Decimal(10), np.float32(11.0), Fraction(12), 10**25, "1e25"]
    async with endpoint.client(policies) as client, started(endpoint, client, products) as going:
        for value in values:
            going.set_limit(name, value)
            limit = going.snapshot().limits[name]
            assert limit is not None
            assert float(limit) == float(value)
            assert json.loads(going.snapshot().to_json())["limits"][name] == limit


async def test_a_name_or_an_id_that_is_no_text_is_refused(products: Path) -> None:
    endpoint = HeldEndpoint()
    async with endpoint.client() as client, started(endpoint, client, products) as going:
        names: list[Any] = [5, None, ["budget"], b"budget", 10**5000]
        for name in names:
            with pytest.raises(ControlRefused, match="must be a text"):
                going.set_limit(name, 5)
            with pytest.raises(ControlRefused, match="must be a list of ids"):
                await going.cancel([name])
