"""The cost of tokens at given rates."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Usage
from headrace_cost.token_rates import Rates, compile_price

MILLION = 1_000_000
PLAIN: Rates = {"input": "2", "output": "8", "cached": "0.5"}
LONG: Rates = {"input": ["1.25", [200_000, "2.5"]], "output": ["10", [200_000, "15"]], "cached": "0.25"}
CLAUDE: Rates = {"input": "3", "output": "15", "cached": "0.3", "cache_write": "3.75", "cache_write_1h": "6"}
VOICE: Rates = {"input": "1", "output": "4", "input_audio": "10", "output_audio": "20", "input_image": "2"}
THINKING: Rates = {"input": "2", "output": "8", "reasoning": "3", "requests": "5"}


@pytest.mark.parametrize(
    ("rates", "usage", "usd"),
    [
        (PLAIN, Usage(MILLION, MILLION), "10"),
        (PLAIN, Usage(10, 5), "0.00006"),
        (PLAIN, Usage(MILLION, 0, cached_tokens=400_000), "1.4"),
        # More cached tokens than prompt tokens do not make a call cheaper.
        (PLAIN, Usage(MILLION, 0, cached_tokens=2 * MILLION), "0.5"),
        # A missing count is 0.
        (PLAIN, Usage(MILLION), "2"),
        (PLAIN, Usage(None, MILLION), "8"),
        (PLAIN, Usage(), "0"),
        # A kind without a rate costs as much as ordinary tokens.
        ({"input": "2", "output": "8"}, Usage(MILLION, 0, cached_tokens=MILLION), "2"),
        (PLAIN, Usage(MILLION, MILLION, reasoning_tokens=500_000, prompt_audio_tokens=9), "10"),
        # Long prompts: one token above the threshold, the whole call has the higher price.
        (LONG, Usage(200_000, 1_000), "0.26"),
        (LONG, Usage(200_001, 1_000), "0.5150025"),
        (LONG, Usage(200_001, 0, cached_tokens=200_000), "0.0500025"),
        # Writes to a cache: for five minutes, and for an hour.
        (CLAUDE, Usage(MILLION, 0, cache_write_tokens=400_000), "3.3"),
        (CLAUDE, Usage(MILLION, 0, cache_write_1h_tokens=400_000), "4.2"),
        (CLAUDE, Usage(100_000, 0, cache_write_tokens=50_000, cache_write_1h_tokens=50_000), "0.4875"),
        (CLAUDE, Usage(10_100, 10, cached_tokens=10_000), "0.00345"),
        (
            {"input": "3", "output": "15", "cache_write": "4"},
            Usage(1000, 0, cache_write_1h_tokens=1000),
            "0.004",
        ),
        # Modalities, and reasoning with its own rate.
        (VOICE, Usage(1000, 1000, prompt_audio_tokens=400, completion_audio_tokens=500), "0.0166"),
        (VOICE, Usage(1000, 0, prompt_image_tokens=500), "0.0015"),
        (VOICE, Usage(1000, 0, cached_tokens=900, prompt_audio_tokens=400), "0.0019"),
        (THINKING, Usage(1000, 1000, reasoning_tokens=600), "0.012"),
        (THINKING, Usage(1000, 1000, reasoning_tokens=5000), "0.010"),
    ],
)
def test_cost_is_usage_times_rates(rates: Rates, usage: Usage, usd: str) -> None:
    assert compile_price(rates).cost(usage) == Decimal(usd)


def test_caller_decimal_context_has_no_effect() -> None:
    with localcontext() as context:
        context.prec = 2
        found = compile_price(PLAIN).cost(Usage(123_456, 7_891))
    assert found == Decimal("0.31004")


def test_all_digits_are_kept() -> None:
    price = compile_price({"input": "0.000000000123", "output": "12345678.9"})
    assert price.cost(Usage(1, 0)) == Decimal("0.000000000000000123")
    assert price.cost(Usage(0, 7)) == Decimal("86.4197523")


@pytest.mark.parametrize(
    ("rates", "content", "usd"),
    [
        (PLAIN, b"", "0.01"),
        (CLAUDE, b"", "0.01875"),
        (CLAUDE, b'{"cache_control": {"ttl": "1h"}}', "0.021"),
        (VOICE, b"", "0.005"),
        (VOICE, b'{"modalities": ["audio"]}', "0.03"),
        (VOICE, b'{"type": "image_url"}', "0.006"),
        (THINKING, b"", "0.015"),
    ],
)
def test_worst_case_counts_the_kinds_that_a_body_can_cause(rates: Rates, content: bytes, usd: str) -> None:
    assert compile_price(rates).worst_case(1000, 1000, content) == Decimal(usd)


def test_worst_case_of_a_long_prompt() -> None:
    price = compile_price(LONG)
    assert price.worst_case(200_000, 1_000) == Decimal("0.26")
    assert price.worst_case(200_001, 1_000) == Decimal("0.5150025")


COUNT = st.none() | st.integers(0, 10**6)


@given(
    st.sampled_from([PLAIN, LONG, CLAUDE, VOICE, THINKING]),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.lists(COUNT, min_size=8, max_size=8),
    st.data(),
)
def test_no_usage_costs_more_than_the_worst_case(
    rates: Rates,
    most_prompt: int,
    most_output: int,
    kinds: list[int | None],
    data: st.DataObject,
) -> None:
    prompt, output = (data.draw(st.none() | st.integers(0, most)) for most in (most_prompt, most_output))
    usage = Usage(prompt, output, None, *kinds)
    price = compile_price(rates)
    assert 0 <= price.cost(usage) <= price.worst_case(most_prompt, most_output, b'audio image "1h"')
