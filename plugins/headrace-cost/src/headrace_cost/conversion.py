"""From genai-prices' providers to the form of ``prices.json``: for the script that writes it, and ``live``.

The caller imports genai-prices, not this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genai_prices import types

_RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "output_reasoning_mtok": "reasoning",
    "requests_kcount": "requests",
}
"""Units that a reply's usage counts, by genai-prices' names for their prices."""

_PART_OF_OTHERS = frozenset(
    {
        # Which of the cached tokens are audio or an image, no usage says.
        "cache_audio_read_mtok",
        "cache_image_read_mtok",
        # No usage counts these apart; their tokens are part of the prompt's or the completion's.
        "input_video_mtok",
        "output_video_mtok",
        "output_citation_mtok",
        # Fees of tools that the endpoint runs.
        "web_searches_kcount",
        "storage_searches_kcount",
    }
)

_NOT_COUNTED = frozenset(
    {
        "audio_hours",
        "input_audio_hours",
        "input_document_kpages",
        "input_annotated_document_kpages",
        "input_mchars",
        "input_text_messages_kcount",
    }
)
"""Units that no usage counts: a model that is billed by one has no price."""


def catalogue_of(providers: Iterable[types.Provider]) -> list[dict[str, Any]]:
    """The providers as ``prices.json`` has them.

    Raises ValueError for a unit or a rule of matching that this does not know.
    """
    return [_provider(provider) for provider in providers]


def _provider(provider: types.Provider) -> dict[str, Any]:
    said: dict[str, Any] = {"id": provider.id, "url": provider.api_pattern}
    if provider.model_match is not None:
        said["makes"] = _clause(provider.model_match)
    if provider.provider_match is not None:
        said["called"] = _clause(provider.provider_match)
    if provider.fallback_model_providers:
        said["resells"] = provider.fallback_model_providers
    return said | {"models": [_model(model) for model in provider.models]}


def _model(model: types.ModelInfo) -> dict[str, Any]:
    prices = model.prices if isinstance(model.prices, list) else [_unconditional(model.prices)]
    said = {
        "match": _clause(model.match),
        "prices": [_condition(each.constraint) | {"rates": _rates(each.prices)} for each in prices],
    }
    tiers = [
        {"tier": tier} | _condition(each.constraint) | {"rates": _rates(each.prices)}
        for each in model.price_variants or ()
        if (tier := _tier(each.when)) is not None
    ]
    return said | {"tiers": tiers} if tiers else said


def _unconditional(prices: types.ModelPrice) -> types.ConditionalPrice:
    from genai_prices.types import ConditionalPrice

    return ConditionalPrice(prices=prices)


def _tier(when: Mapping[str, str]) -> str | None:
    """The service tier that a variant is for; None for the default one, and for what no reply says."""
    if len(when) != 1:
        return None
    ((kind, value),) = when.items()
    if kind == "service_tier" and value != "default":
        return value
    return value if (kind, value) in {("processing", "batch"), ("speed", "fast")} else None


def _condition(constraint: Any) -> dict[str, Any]:
    if constraint is None:
        return {}
    since = getattr(constraint, "start_date", None)
    if since is not None:
        return {"since": since.isoformat()}
    return {"daily": [_utc(constraint.start_time), _utc(constraint.end_time)]}


def _utc(time: Any) -> str:
    if time.utcoffset() and time.utcoffset().total_seconds():
        raise ValueError(f"{time!r}: not in UTC")
    return str(time.strftime("%H:%M"))


def _rates(prices: types.ModelPrice) -> dict[str, Any] | None:
    """USD a million tokens, and a thousand requests; None where they are not all that is billed."""
    rates: dict[str, Any] = {}
    for unit, price in sorted(prices.__dict__.items()):
        if price is None or unit in _PART_OF_OTHERS:
            continue
        if unit in _NOT_COUNTED:
            return None
        if unit not in _RATES:
            raise ValueError(f"unknown unit {unit!r}: say in {__name__} what becomes of it")
        rates[_RATES[unit]] = _rate(price)
    return rates


def _rate(price: Decimal | types.TieredPrices) -> Any:
    if isinstance(price, Decimal):
        return format(price, "f")
    return [format(price.base, "f"), *([tier.start, format(tier.price, "f")] for tier in price.tiers)]


def _clause(clause: Any) -> list[Any]:
    ((kind, value),) = clause.__dict__.items()
    kind = kind.rstrip("_")
    if kind in {"or", "and"}:
        return [kind, *map(_clause, value)]
    if kind == "regex":
        return [kind, value]
    if kind not in {"starts_with", "ends_with", "contains", "equals"}:
        raise ValueError(f"unknown rule of matching {kind!r}")
    return [kind, value.lower()]
