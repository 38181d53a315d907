"""The price list, and what tokens cost by it."""

from __future__ import annotations

import tomllib
from decimal import Decimal, localcontext
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace import Usage
from headrace_cost.prices import PriceList


def shipped() -> dict[str, Any]:
    return tomllib.loads(files("headrace_cost").joinpath("prices.toml").read_text(encoding="utf-8"))


def cost(model: str, usage: Usage) -> Decimal:
    price = PriceList({}).find(model)
    assert price is not None
    return price.cost(usage)


def test_every_price_has_a_source_and_a_date() -> None:
    for table in shipped().values():
        assert table["source"]
        assert len(table["date"]) == len("2026-11")


def test_prices_are_sound() -> None:
    models = [model for table in shipped().values() for model in table["models"]]
    assert len(models) == len(set(models)) > 100
    for table in shipped().values():
        for entry in table["models"].values():
            assert entry.keys() <= {"input", "output", "cached", "long"}
            assert Decimal(entry["input"]) > 0
            assert Decimal(entry.get("cached", "0")) < Decimal(entry["input"])
            if "long" in entry:
                assert Decimal(entry["long"]["input"]) > Decimal(entry["input"])
                assert ("cached" in entry) == ("cached" in entry["long"])


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("deepseek-v3.2", Usage(1_000_000, 1_000_000), "1.62"),
        ("gpt-4.1", Usage(1_000_000, 1_000_000), "10"),
        ("gpt-4.1", Usage(10, 5), "0.00006"),
        ("gpt-4.1", Usage(1_000_000, 0, cached_tokens=400_000), "1.4"),
        ("gemini-2.5-flash", Usage(1_000_000, 1_000_000), "2.8"),
        ("gemini-2.5-pro", Usage(200_000, 1_000), "0.26"),
        ("gemini-2.5-pro", Usage(200_001, 1_000), "0.5150025"),
        ("text-embedding-3-small", Usage(1_000_000, 0), "0.02"),
        # Without a price of their own, cached tokens cost what others do.
        ("deepseek-v3.2", Usage(1_000_000, 0, cached_tokens=1_000_000), "0.42"),
        # An endpoint that counts more cached tokens than there are does not make a call cheaper.
        ("gpt-4.1", Usage(1_000_000, 0, cached_tokens=2_000_000), "0.5"),
        ("gpt-4.1", Usage(), "0"),
    ],
)
def test_usage_times_price(model: str, usage: Usage, usd: str) -> None:
    assert cost(model, usage) == Decimal(usd)


def test_the_callers_decimal_context_changes_nothing() -> None:
    with localcontext() as context:
        context.prec = 2
        found = cost("gpt-4.1", Usage(123_456, 7_891))
    assert found == Decimal("0.31004")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gpt-4.1", "gpt-4.1"),
        ("gpt-4.1-2025-04-14", "gpt-4.1"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("openai/gpt-4.1", "gpt-4.1"),
        ("openrouter/openai/gpt-4.1-2025-04-14", "gpt-4.1"),
        # A dated name with a price of its own is not taken for another.
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
    ],
)
def test_names_that_are_found(name: str, known: str) -> None:
    prices = PriceList({})
    assert prices.find(name) is not None
    assert prices.find(name) == prices.find(known)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt",
        "gpt-4.1-x",
        "GPT-4.1",
        "gpt-4.1-2025",
        "gpt-4.1-2025-04-14-x",
        "gpt-4.1/",
        "ft:gpt-4.1:me::1",
    ],
)
def test_nothing_fuzzier(name: str) -> None:
    assert PriceList({}).find(name) is None


def test_the_users_own_prices_come_first() -> None:
    prices = PriceList(
        {"gpt-4.1": {"input": "1", "output": 2.5}, "mine": {"input": 0, "output": 0, "cached": 0}}
    )
    own, free = prices.find("openai/gpt-4.1"), prices.find("mine")
    assert own is not None
    assert free is not None
    assert own.cost(Usage(1_000_000, 1_000_000)) == Decimal("3.5")
    assert free.cost(Usage(1_000_000, 1_000_000)) == 0


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"input": "1"},
        {"input": "1", "output": "2", "cache": "3"},
        {"input": "-1", "output": "2"},
        {"input": "nan", "output": "2"},
        {"input": "cheap", "output": "2"},
        "1.5",
    ],
)
def test_prices_that_are_none(entry: Any) -> None:
    with pytest.raises(headrace.SettingsError, match="'mine'"):
        PriceList({"mine": entry})


def test_the_worst_case_of_a_long_prompt() -> None:
    price = PriceList({}).find("gemini-2.5-pro")
    assert price is not None
    assert price.at_most(200_000, 1_000) == Decimal("0.26")
    assert price.at_most(200_001, 1_000) == Decimal("0.5150025")


@given(
    st.sampled_from(["gpt-4.1", "gemini-2.5-pro", "deepseek-v3.2"]),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.data(),
)
def test_no_usage_within_the_bounds_costs_more_than_the_worst_case(
    model: str, most_prompt: int, most_output: int, cached: int, data: st.DataObject
) -> None:
    price = PriceList({}).find(model)
    assert price is not None
    usage = Usage(
        data.draw(st.integers(0, most_prompt)), data.draw(st.integers(0, most_output)), cached_tokens=cached
    )
    assert 0 <= price.cost(usage) <= price.at_most(most_prompt, most_output)
