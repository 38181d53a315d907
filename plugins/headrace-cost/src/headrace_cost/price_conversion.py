"""Conversion of genai-prices' providers to the format of ``prices.json``, for its script and for ``live``.

The caller imports genai-prices; this module does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genai_prices import types

_KIND_OF_UNIT = {
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
"""Our kind of each unit that a reply's usage counts; the keys are genai-prices' names."""

_INCLUDED_UNITS = frozenset(
    {
        # Usage does not say which cached tokens are audio or images.
        "cache_audio_read_mtok",
        "cache_image_read_mtok",
        # Usage does not count these separately; they are part of the prompt or the completion.
        "input_video_mtok",
        "output_video_mtok",
        "output_citation_mtok",
        # Fees of tools that the endpoint runs, which are in no cost.
        "web_searches_kcount",
        "storage_searches_kcount",
    }
)

_UNCOUNTED_UNITS = frozenset(
    {
        "audio_hours",
        "input_audio_hours",
        "input_document_kpages",
        "input_annotated_document_kpages",
        "input_mchars",
        "input_text_messages_kcount",
    }
)
"""Units that no usage counts; a model that is billed by one has no price."""


def to_catalogue(providers: Iterable[types.Provider]) -> list[dict[str, Any]]:
    """The providers in the format of ``prices.json``.

    Raises:
        ValueError: A unit or a matching rule is unknown.
    """
    return [_convert_provider(provider) for provider in providers]


def _convert_provider(provider: types.Provider) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": provider.id, "url": provider.api_pattern}
    if provider.model_match is not None:
        entry["makes"] = _convert_clause(provider.model_match)
    if provider.provider_match is not None:
        entry["called"] = _convert_clause(provider.provider_match)
    if provider.fallback_model_providers:
        entry["resells"] = provider.fallback_model_providers
    return entry | {"models": [_convert_model(model) for model in provider.models]}


def _convert_model(model: types.ModelInfo) -> dict[str, Any]:
    prices = model.prices if isinstance(model.prices, list) else [_unconditional(model.prices)]
    entry = {
        "match": _convert_clause(model.match),
        "prices": [
            _convert_condition(each.constraint) | {"rates": _convert_rates(each.prices)} for each in prices
        ],
    }
    tiers = [
        {"tier": tier} | _convert_condition(each.constraint) | {"rates": _convert_rates(each.prices)}
        for each in model.price_variants or ()
        if (tier := _convert_tier(each.when)) is not None
    ]
    return entry | {"tiers": tiers} if tiers else entry


def _unconditional(prices: types.ModelPrice) -> types.ConditionalPrice:
    from genai_prices.types import ConditionalPrice

    return ConditionalPrice(prices=prices)


def _convert_tier(when: Mapping[str, str]) -> str | None:
    """The service tier of a variant; None for the default one, and for a condition that no reply reports."""
    if len(when) != 1:
        return None
    ((kind, value),) = when.items()
    if kind == "service_tier" and value != "default":
        return value
    return value if (kind, value) in {("processing", "batch"), ("speed", "fast")} else None


def _convert_condition(constraint: Any) -> dict[str, Any]:
    if constraint is None:
        return {}
    since = getattr(constraint, "start_date", None)
    if since is not None:
        return {"since": since.isoformat()}
    return {"daily": [_utc(constraint.start_time), _utc(constraint.end_time)]}


def _utc(time: Any) -> str:
    if time.utcoffset() and time.utcoffset().total_seconds():
        raise ValueError(f"{time!r}: must be in UTC")
    return str(time.strftime("%H:%M"))


def _convert_rates(prices: types.ModelPrice) -> dict[str, Any] | None:
    """USD per million tokens and per thousand requests; None if something else is billed too."""
    rates: dict[str, Any] = {}
    for unit, price in sorted(prices.__dict__.items()):
        if price is None or unit in _INCLUDED_UNITS:
            continue
        if unit in _UNCOUNTED_UNITS:
            return None
        if unit not in _KIND_OF_UNIT:
            raise ValueError(f"unknown unit {unit!r}: add it to a table in {__name__}")
        rates[_KIND_OF_UNIT[unit]] = _convert_rate(price)
    return rates


def _convert_rate(price: Decimal | types.TieredPrices) -> Any:
    if isinstance(price, Decimal):
        return format(price, "f")
    return [format(price.base, "f"), *([tier.start, format(tier.price, "f")] for tier in price.tiers)]


def _convert_clause(clause: Any) -> list[Any]:
    ((kind, value),) = clause.__dict__.items()
    kind = kind.rstrip("_")
    if kind in {"or", "and"}:
        return [kind, *map(_convert_clause, value)]
    if kind == "regex":
        return [kind, value]
    if kind not in {"starts_with", "ends_with", "contains", "equals"}:
        raise ValueError(f"unknown matching rule {kind!r}")
    return [kind, value.lower()]
