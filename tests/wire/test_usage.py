"""Token counts of all vendors, converted to one form."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Usage
from headrace.wire.usage import MAX_TOKEN_COUNT, UsageFields, parse_usage, usage_to_json

NAMES = [name for name in UsageFields.__struct_fields__ if "details" not in name and name != "cache_creation"]
DETAILS = ["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens"]
COUNTS = st.none() | st.integers(0, 50)
ODD: st.SearchStrategy[Any] = (
    COUNTS | st.integers() | st.floats() | st.text(max_size=3) | st.booleans() | st.just([])
)


def usages(counts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    parts = st.dictionaries(st.sampled_from([*DETAILS, "ephemeral_1h_input_tokens"]), counts)
    holders = ["prompt_tokens_details", "input_tokens_details", "completion_tokens_details", "cache_creation"]
    return st.tuples(
        st.dictionaries(st.sampled_from(NAMES), counts),
        st.dictionaries(st.sampled_from(holders), parts | st.none()),
    ).map(lambda both: both[0] | both[1])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # OpenAI, responses
        (
            {
                "input_tokens": 36,
                "input_tokens_details": {"cached_tokens": 30},
                "output_tokens": 87,
                "output_tokens_details": {"reasoning_tokens": 64},
                "total_tokens": 123,
            },
            Usage(36, 87, 123, 30, reasoning_tokens=64),
        ),
        # Anthropic: the input does not include cached tokens
        (
            {
                "input_tokens": 100,
                "cache_read_input_tokens": 10_000,
                "cache_creation_input_tokens": 0,
                "output_tokens": 10,
            },
            Usage(10_100, 10, 10_110, 10_000, 0),
        ),
        (
            {
                "input_tokens": 100,
                "cache_read_input_tokens": 1_000,
                "cache_creation_input_tokens": 556,
                "cache_creation": {"ephemeral_5m_input_tokens": 456, "ephemeral_1h_input_tokens": 100},
                "output_tokens": 10,
                "service_tier": "standard",
            },
            Usage(1_656, 10, 1_666, 1_000, 456, 100),
        ),
        # the same through a proxy that uses OpenAI's names and includes them
        (
            {
                "prompt_tokens": 10_100,
                "completion_tokens": 10,
                "total_tokens": 10_110,
                "prompt_tokens_details": {"cached_tokens": 10_000},
                "cache_read_input_tokens": 10_000,
                "cache_creation_input_tokens": 0,
            },
            Usage(10_100, 10, 10_110, 10_000, 0),
        ),
        # a proxy that uses OpenAI's names, and includes them in the total but not in the prompt
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 10,
                "total_tokens": 10_110,
                "cache_read_input_tokens": 10_000,
            },
            Usage(10_100, 10, 10_110, 10_000),
        ),
        # xAI: the completion does not include reasoning
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 2,
                "total_tokens": 32,
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            Usage(10, 22, 32, reasoning_tokens=20),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 32}, Usage(10, 22, 32)),
        # Moonshot, Mistral, DeepSeek
        (
            {"prompt_tokens": 19, "completion_tokens": 21, "total_tokens": 40, "cached_tokens": 10},
            Usage(19, 21, 40, 10),
        ),
        ({"prompt_tokens": 19, "completion_tokens": 21, "num_cached_tokens": 10}, Usage(19, 21, 40, 10)),
        (
            {
                "prompt_tokens": 19,
                "completion_tokens": 21,
                "prompt_cache_hit_tokens": 10,
                "prompt_cache_miss_tokens": 9,
            },
            Usage(19, 21, 40, 10),
        ),
        (
            {"prompt_cache_hit_tokens": 10, "prompt_cache_miss_tokens": 9, "completion_tokens": 2},
            Usage(19, 2, 21, 10),
        ),
        # audio and images
        (
            {
                "prompt_tokens": 19,
                "completion_tokens": 21,
                "total_tokens": 40,
                "prompt_tokens_details": {"audio_tokens": 5, "image_tokens": 3},
                "completion_tokens_details": {"audio_tokens": 9, "image_tokens": 2},
            },
            Usage(
                19,
                21,
                40,
                prompt_audio_tokens=5,
                completion_audio_tokens=9,
                prompt_image_tokens=3,
                completion_image_tokens=2,
            ),
        ),
        # embeddings
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0, 8)),
        ({"prompt_tokens": 8}, Usage(8)),
        ({"total_tokens": 8}, Usage(total_tokens=8)),
        # no counts, or invalid ones
        ({}, None),
        ({"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2.5, "total_tokens": "7"}, None),
        ({"prompt_tokens": True, "completion_tokens": float("nan"), "total_tokens": 10**25}, None),
        ({"prompt_tokens": 5.0, "completion_tokens": 3}, Usage(5, 3, 8)),
    ],
)
def test_counts_of_vendors_are_converted(raw: dict[str, Any], expected: Usage | None) -> None:
    fields = parse_usage(raw)
    assert fields is not None
    assert fields.to_usage() == expected


@given(usages(ODD))
def test_counts_are_consistent_for_any_usage(raw: dict[str, Any]) -> None:
    fields = parse_usage(raw)
    assert fields is not None
    usage = fields.to_usage()
    if usage is None:
        return
    counts = msgspec.structs.astuple(usage)
    assert all(count is None or 0 <= count <= 5 * MAX_TOKEN_COUNT for count in counts)
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt is not None:
        parts = usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
        assert sum(part or 0 for part in parts) <= prompt
    if completion is not None:
        assert (usage.reasoning_tokens or 0) <= completion
    if prompt is not None and completion is not None:
        assert usage.total_tokens == prompt + completion


@given(usages(COUNTS))
def test_both_ways_of_decoding_give_equal_counts(raw: dict[str, Any]) -> None:
    typed = msgspec.json.decode(msgspec.json.encode(raw), type=UsageFields)
    fields = parse_usage(raw)
    assert fields is not None
    assert typed == fields
    usage = typed.to_usage()
    if usage is not None:
        again = msgspec.json.decode(msgspec.json.encode(usage_to_json(usage)), type=UsageFields).to_usage()
        assert again == usage, "encoded counts are parsed to the same"


def test_a_sum_has_the_counts_known_of_either() -> None:
    assert Usage(1, None, 3, None) + Usage(4, 5, None, None) == Usage(5, 5, 3, None)
    assert sum([Usage(1, 2, 3), Usage(1, 2, 3)], Usage()) == Usage(2, 4, 6)
