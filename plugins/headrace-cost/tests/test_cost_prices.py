"""Which price a model has at an endpoint."""

from __future__ import annotations

import datetime
import time
from decimal import Decimal
from typing import Any

import pytest

import headrace
from headrace import Endpoint, Usage
from headrace_cost import price_lookup as prices
from headrace_cost.price_catalogue import Catalogue
from headrace_cost.price_lookup import PriceList
from headrace_cost.token_rates import Price

OPENAI = "https://api.openai.com/v1"
PROXY = "https://llm.example.com/v1"
MILLION_EACH = Usage(1_000_000, 1_000_000)


def cost_of_a_million(
    url: str, model: str, own: dict[str, Any] | None = None, tier: str | None = None
) -> Decimal | None:
    """What a million input and output tokens cost."""
    price = PriceList(own or {}).find((Endpoint(url, "key", name="here"), model, tier))
    return None if price is None else price.cost(MILLION_EACH)


@pytest.mark.parametrize(
    ("url", "model", "usd"),
    [
        (OPENAI, "gpt-4.1", "10"),
        (OPENAI, "gpt-4.1-2025-04-14", "10"),
        (OPENAI, "GPT-4.1", "10"),
        (OPENAI, "text-embedding-3-small", "0.02"),
        ("https://openrouter.ai/api/v1", "openai/gpt-4.1", "10"),
        ("https://my.openai.azure.com/openai", "gpt-4.1", "10"),
        ("https://europe-west1-aiplatform.googleapis.com/v1/x", "google/gemini-2.5-flash", "2.8"),
        # An unknown dated name means its family.
        (OPENAI, "gpt-4.1-2031-01-01", "10"),
        (OPENAI, "gpt-4.1-20310101", "10"),
        # Not a provider's URL: the price of the provider in the name, or of the model's maker.
        (PROXY, "gpt-4.1", "10"),
        (PROXY, "openai/gpt-4.1-2025-04-14", "10"),
        (PROXY, "openrouter/openai/gpt-4.1", "10"),
        (PROXY, "anthropic/claude-haiku-4-5-20251001", "6"),
        # Not sold there, or unknown: no price is better than a wrong one.
        (OPENAI, "claude-haiku-4-5", None),
        (OPENAI, "nothing", None),
        (OPENAI, "", None),
        (PROXY, "someone/gpt-4.1", None),
        (PROXY, "meta-llama/Llama-3.1-8B-Instruct", None),
        (PROXY, "mistralai/Mistral-7B-Instruct-v0.3", None),
        # Billed by a unit that no usage counts.
        (OPENAI, "whisper-1", None),
        # The same name has its own price at each host, and the simulated price on this machine.
        ("http://127.0.0.1:8000/v1", "deepseek-v3.2", "1.62"),
        ("http://localhost:8000/v1", "deepseek-v3.2", "1.62"),
        ("http://[::1]:8000/v1", "deepseek-v3.2", "1.62"),
        ("https://simulated.invalid/v1", "deepseek-v3.2", "1.62"),
        ("https://api.deepseek.com/v1", "deepseek-v3.2", "0.5720"),
        ("https://api.avian.io/v1", "deepseek/deepseek-v3.2", "0.56"),
    ],
)
def test_price_is_that_of_the_model_at_its_endpoint(url: str, model: str, usd: str | None) -> None:
    assert cost_of_a_million(url, model) == (None if usd is None else Decimal(usd))


@pytest.mark.parametrize(
    ("tier", "usd"),
    [(None, "10"), ("default", "10"), ("auto", "10"), ("priority", "17.5"), ("batch", "5"), ("flex", "10")],
)
def test_service_tiers_have_their_listed_prices(tier: str | None, usd: str) -> None:
    assert cost_of_a_million(OPENAI, "gpt-4.1", tier=tier) == Decimal(usd)


def test_own_prices_come_first_by_endpoint_then_by_model() -> None:
    one, two, three = ({"input": n, "output": 0} for n in ("1", 2.5, Decimal(3)))
    assert cost_of_a_million(OPENAI, "gpt-4.1", {"gpt-4.1": one}) == 1
    assert cost_of_a_million(OPENAI, "gpt-4.1", {"gpt-4.1": one, "here/gpt-4.1": two}) == Decimal("2.5")
    assert cost_of_a_million(OPENAI, "gpt-4.1", {"elsewhere/gpt-4.1": two}) == 10
    assert cost_of_a_million(OPENAI, "openai/gpt-4.1-2025-04-14", {"gpt-4.1": three}) == 3
    assert cost_of_a_million(OPENAI, "gpt-4.1", {"gpt-4.1": one}, "priority") == 1


def test_price_is_that_of_the_models_name_at_the_endpoint() -> None:
    azure = Endpoint("https://x.openai.azure.com", "k", name="azure", models={"gpt-4.1": "my-deployment"})
    found = PriceList({}).find((azure, "gpt-4.1", None))
    assert found is not None
    assert found.cost(MILLION_EACH) == 10
    own = PriceList({"azure/my-deployment": {"input": 1, "output": 1}}).find((azure, "gpt-4.1", None))
    assert own is not None
    assert own.cost(MILLION_EACH) == 2


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, "needs input and output"),
        ({"input": "1"}, "needs input and output"),
        ({"input": "1", "output": "2", "cache": "3"}, "did you mean 'cached'"),
        ({"input": "-1", "output": "2"}, "input = '-1'"),
        ({"input": "nan", "output": "2"}, "at least 0"),
        ({"input": "cheap", "output": "2"}, "must be a number"),
        ("1.5", "needs input and output"),
    ],
)
def test_invalid_prices_are_rejected(entry: Any, expected: str) -> None:
    with pytest.raises(headrace.SettingsError, match=f"'my-model': .*{expected}"):
        PriceList({"my-model": entry})


LIST = b"""{"providers": [{"id": "p", "url": "https://p\\\\.test", "models": [
  {"match": ["equals", "dated"], "prices": [
    {"rates": {"input": "1"}}, {"since": "2026-03-01", "rates": {"input": "2"}}]},
  {"match": ["equals", "daily"], "prices": [
    {"rates": {"input": "1"}}, {"daily": ["22:00", "06:00"], "rates": {"input": "3"}}]},
  {"match": ["equals", "tiers"], "prices": [{"rates": {"input": "1", "output": "1"}}], "tiers": [
    {"tier": "flex", "since": "2026-03-01", "rates": {"input": "5"}},
    {"tier": "flex", "rates": {"input": "7", "output": "7"}}]}
]}]}"""


@pytest.mark.parametrize(
    ("model", "tier", "when", "usd", "until"),
    [
        ("dated", None, "2026-02-28T23:59:59", 1, "2026-03-01T00:00:00"),
        ("dated", None, "2026-03-01T00:00:00", 2, None),
        ("daily", None, "2026-02-28T21:59:59", 1, "2026-02-28T22:00:00"),
        ("daily", None, "2026-02-28T22:00:00", 3, "2026-03-01T06:00:00"),
        ("daily", None, "2026-03-01T05:59:59", 3, "2026-03-01T06:00:00"),
        ("daily", None, "2026-03-01T06:00:00", 1, "2026-03-01T22:00:00"),
        ("tiers", None, "2026-02-01T00:00:00", 2, None),
        ("tiers", "flex", "2026-02-01T00:00:00", 14, "2026-03-01T00:00:00"),
        # The first variant that applies wins, rate by rate.
        ("tiers", "flex", "2026-03-02T00:00:00", 12, None),
    ],
)
def test_prices_change_by_date_and_time_of_day(
    model: str, tier: str | None, when: str, usd: int, until: str | None
) -> None:
    now = datetime.datetime.fromisoformat(when).replace(tzinfo=datetime.UTC)
    price = Catalogue(LIST).price("https://p.test/v1", model, tier, now)
    assert price is not None
    assert price.cost(MILLION_EACH) == usd
    then = None if until is None else datetime.datetime.fromisoformat(until).replace(tzinfo=datetime.UTC)
    assert price.valid_until == (None if then is None else then.timestamp())


def test_price_is_looked_up_again_when_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = 0

    def catalogue() -> Catalogue:
        nonlocal looked_up
        looked_up += 1
        return Catalogue(LIST)

    found, key = PriceList({}, catalogue), (Endpoint("https://p.test/v1", "k"), "daily", None)
    first = found.find(key)
    assert first is not None
    assert found.find(key) is first
    assert looked_up == 1
    assert first.valid_until is not None
    later = first.valid_until + 1
    monkeypatch.setattr(time, "time", lambda: later)
    found.find(key)
    assert looked_up == 2


def test_price_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_MAX_CACHED", 10)
    found, endpoint = PriceList({"m": {"input": 1, "output": 1}}), Endpoint(PROXY, "k")
    for number in range(100):
        found.find((endpoint, f"model-{number}", None))
    assert len(found._cache) <= 10
    price = found.find((endpoint, "m", None))
    assert isinstance(price, Price)
