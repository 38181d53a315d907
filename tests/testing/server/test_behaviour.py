"""The checks of a behaviour's values, and its repr."""

from typing import Any

import pytest

from headrace.testing.server import Behaviour


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency": -1.0},
        {"latency": float("nan")},
        {"jitter": -0.1},
        {"rate_limit": 0.0},
        {"rate_limit": -5.0},
        {"errors": 1.1},
        {"errors": -0.1},
        {"faults": ()},
        {"faults": ("500", "earthquake")},
        {"stall": -1.0},
        {"batch_time": -1.0},
        {"batch_failures": 1.1},
        {"batch_expire": float("nan")},
        {"batch_max_requests": 0},
        {"batch_max_bytes": 0},
        {"batch_max_tokens": 0},
        {"batch_listing_delay": -1.0},
    ],
)
def test_values_out_of_range_are_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Behaviour(**wrong)


def test_unknown_fault_error_lists_the_known_faults() -> None:
    with pytest.raises(ValueError, match=r"'earthquake'.*500, 503, 429, reset, stall, truncate"):
        Behaviour(faults=["earthquake"])


def test_repr_does_not_show_the_key() -> None:
    assert "sk-secret" not in repr(Behaviour(api_key="sk-secret"))
