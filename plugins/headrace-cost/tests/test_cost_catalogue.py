"""The price list in the package, compared with genai-prices, from which it is made."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from genai_prices import data, data_snapshot, types

import headrace
from headrace import Endpoint, Usage
from headrace_cost import Cost
from headrace_cost.price_catalogue import Catalogue
from headrace_cost.price_conversion import to_catalogue
from headrace_cost.price_lookup import packaged_catalogue

SCRIPT = Path(__file__).parents[1] / "scripts" / "write_prices.py"
TIERS: list[tuple[str | None, dict[str, str] | None]] = [
    (None, None),
    ("flex", {"service_tier": "flex"}),
    ("priority", {"service_tier": "priority"}),
    ("batch", {"processing": "batch"}),
]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_prices", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_price_list_is_up_to_date_with_genai_prices() -> None:
    module = load_script()
    assert module.PATH.read_bytes() == module.render(), f"run {SCRIPT.name}"


def clauses(clause: Any) -> Iterator[str]:
    """Names that a matching rule is made for."""
    for each in [*getattr(clause, "or_", ()), *getattr(clause, "and_", ())]:
        yield from clauses(each)
    for kind in ("equals", "starts_with", "ends_with", "contains"):
        if value := getattr(clause, kind, None):
            yield value


def example(pattern: str) -> str | None:
    """A URL that a provider's pattern matches."""
    plain = pattern.replace("\\", "").replace("(/|$)", "").replace("(?:/|$)", "").replace("(api.)?", "")
    for pattern, text in (
        ("[a-z0-9-]+", "us-east-1"),
        ("[^/]+", "x"),
        ("(.*.)?", "x."),
        (
            "(https?://)?([^.]*.)?(?:openai.azure.com|azure-api.net|cognitiveservices.azure.com|services.ai.azure.com)",
            "https://x.openai.azure.com",
        ),
        ("(?:ai|com)", "ai"),
        ("(?:cloud.databricks.com|azuredatabricks.net|gcp.databricks.com)", "cloud.databricks.com"),
        ("(?:serving-endpoints|ai-gateway)", "serving-endpoints"),
        ("(?:(?:us|eu.residency|in.residency|sg.residency).)?", ""),
        ("(i)?", ""),
        ("(?:com|io)", "com"),
        ("(?:run|direct)", "run"),
    ):
        plain = plain.replace(pattern, text)
    return plain


def to_their_usage(usage: Usage) -> types.Usage:
    writes = (usage.cache_write_tokens or 0) + (usage.cache_write_1h_tokens or 0)
    return types.Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cached_tokens or 0,
        cache_write_tokens=writes,
        cache_write_1h_tokens=usage.cache_write_1h_tokens or 0,
        input_audio_tokens=usage.prompt_audio_tokens or 0,
        input_image_tokens=usage.prompt_image_tokens or 0,
        output_audio_tokens=usage.completion_audio_tokens or 0,
        output_image_tokens=usage.completion_image_tokens or 0,
        output_reasoning_tokens=usage.reasoning_tokens or 0,
        # No reply reports these separately.
        **dict.fromkeys(
            (
                "cache_audio_read_tokens",
                "cache_image_read_tokens",
                "input_video_tokens",
                "output_video_tokens",
                "output_citation_tokens",
            ),
            0,
        ),
    )


def random_usage(rng: random.Random) -> Usage:
    """Counts of kinds that do not overlap and do not exceed the tokens."""
    prompt, output = (round(10 ** rng.uniform(0, 6)) for _ in range(2))

    def part(whole: int) -> int | None:
        return rng.choice([None, 0, rng.randint(0, whole // 6)])

    return Usage(
        prompt,
        output,
        None,
        cached_tokens=part(prompt),
        cache_write_tokens=part(prompt),
        cache_write_1h_tokens=part(prompt),
        reasoning_tokens=part(output),
        prompt_audio_tokens=part(prompt),
        completion_audio_tokens=part(output),
        prompt_image_tokens=part(prompt),
        completion_image_tokens=part(output),
    )


def is_counted(prices: types.ModelPrice) -> bool:
    """Whether usage counts every unit of a price."""
    return not any(
        value is not None and unit.endswith(("hours", "kpages", "mchars", "messages_kcount"))
        for unit, value in prices.__dict__.items()
    )


def test_costs_equal_those_of_genai_prices() -> None:
    rng, now, compared = random.Random(5), datetime(2026, 11, 28, 3, 20, tzinfo=UTC), 0
    times = [now, now - timedelta(days=100), now.replace(hour=20), now + timedelta(days=400)]
    snapshot, ours = data_snapshot.DataSnapshot(data.providers, False), packaged_catalogue()
    for provider in data.providers:
        url = example(provider.api_pattern)
        assert url is not None
        if snapshot.find_provider(None, None, url) is not provider:
            assert provider.id == "openai-decisions"  # it has the same URL as another provider
            continue
        names = {name for model in provider.models for name in (model.id, *clauses(model.match))}
        for name in sorted(names):
            (tier, context), when = rng.choice(TIERS), rng.choice(times)
            try:
                _, model = snapshot.find_provider_model(name, None, None, url)
            except LookupError:
                continue
            price = ours.price(url, name, tier, when)
            own = any(model is each for each in provider.models)
            theirs = model.get_prices(when, context if own else None)
            if not is_counted(theirs):
                assert price is None, (url, name)
                continue
            assert price is not None, (url, name)
            for usage in (random_usage(rng), random_usage(rng), Usage(1, 0)):
                paid = model.calc_price(
                    to_their_usage(usage), provider, genai_request_timestamp=when, price_context=context
                )
                assert price.cost(usage) == paid.total_price, (url, name, tier, when, usage)
                compared += 1
    assert compared > 6000


def test_costs_at_unknown_urls_equal_those_of_genai_prices() -> None:
    snapshot, ours = data_snapshot.DataSnapshot(data.providers, False), packaged_catalogue()
    usage, now, found = Usage(1000, 100), datetime.now(UTC), 0
    names = {model.id for provider in data.providers for model in provider.models if "/" not in model.id}
    names |= {f"{provider.id}/{model.id}" for provider in data.providers for model in provider.models}
    for name in sorted(names):
        price = ours.price("https://proxy.test/v1", name, None, now)
        try:
            # As in LiteLLM, a name may begin with its provider.
            litellm = "litellm" if "/" in name else None
            provider, model = snapshot.find_provider_model(name, None, litellm, None)
        except LookupError:
            continue
        if is_counted(model.get_prices(now)):
            assert price is not None, name
            paid = model.calc_price(to_their_usage(usage), provider, genai_request_timestamp=now)
            assert price.cost(usage) == paid.total_price, name
            found += 1
    assert found > 2000


def test_unknown_unit_or_rule_is_an_error() -> None:
    def provider(match: Any, prices: types.ModelPrice) -> types.Provider:
        model = types.ModelInfo("m", match, prices=prices)
        return types.Provider("p", "P", "https://p", models=[model])

    with pytest.raises(ValueError, match="unknown unit 'input_smells'"):
        to_catalogue([provider(types.ClauseEquals("m"), types.ModelPrice(input_smells=Decimal(1)))])
    resembles: Any = type("ClauseResembles", (), {})()
    resembles.resembles = "m"
    with pytest.raises(ValueError, match="unknown matching rule 'resembles'"):
        to_catalogue([provider(resembles, types.ModelPrice())])


def test_price_list_is_not_read_before_the_first_price() -> None:
    program = (
        "import sys, headrace_cost\n"
        "from headrace_cost.price_lookup import packaged_catalogue\n"
        "headrace_cost.Cost()\n"
        "print([name for name in ('genai_prices', 'pydantic', 'httpx2') if name in sys.modules], "
        "packaged_catalogue.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] 0\n"


# With live=True, prices are the current ones of the library.


@pytest.mark.anyio
async def test_live_prices_follow_updates_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint("https://api.openai.com/v1", "k")
    cost = Cost(live=True)
    assert cost.estimate("gpt-4.1", 1_000_000, 0, endpoint) == 2
    cheaper = types.Provider(
        "openai",
        "OpenAI",
        r"https://api\.openai\.com",
        models=[
            types.ModelInfo(
                "gpt-4.1", types.ClauseEquals("gpt-4.1"), prices=types.ModelPrice(input_mtok=Decimal(1))
            )
        ],
    )
    now = datetime.now(UTC).timestamp()
    data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot([cheaper], True))
    try:
        assert cost.estimate("gpt-4.1", 1_000_000, 0, endpoint) == 2  # cached for a minute
        monkeypatch.setattr("time.time", lambda: now + 61)
        assert cost.estimate("gpt-4.1", 1_000_000, 0, endpoint) == 1
    finally:
        data_snapshot.set_custom_snapshot(None)


def test_live_without_the_library_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(headrace.SettingsError, match=r"install headrace-cost\[live\]"):
        Cost(live=True)


def test_rendered_price_list_can_be_read() -> None:
    assert Catalogue(load_script().PATH.read_bytes()).price(
        "https://x.test", "gpt-4.1", None, datetime.now(UTC)
    )
