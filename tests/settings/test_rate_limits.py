"""Rate limits as settings of plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from headrace import RateLimits, SettingsError
from headrace.settings import load_settings
from headrace.settings.rate_limits import PerMinute, positive_number


@attrs.define(eq=False, kw_only=True)
class Turnstile(RateLimits):
    """The settings of a plugin."""

    name = "turnstile"

    patience: float | None = attrs.field(default=None, validator=positive_number)


def test_the_most_specific_table_counts() -> None:
    limits = Turnstile(
        requests_per_minute=60,
        tokens_per_minute=600,
        limits={
            "here/m": {"requests_per_minute": 120},
            "m": {"requests_per_minute": 180, "tokens_per_minute": 1200},
            "here": {"requests_per_minute": 240, "tokens_per_minute": 2400},
        },
    )
    assert limits.per_minute("here", "m") == PerMinute(120, 1200)
    assert limits.per_minute("there", "m") == PerMinute(180, 1200)
    assert limits.per_minute("here", "n") == PerMinute(240, 2400)
    assert limits.per_minute("there", "n") == PerMinute(60, 600)


def test_limits_that_are_not_set_are_none() -> None:
    assert Turnstile().per_minute("here", "m") == PerMinute()
    assert Turnstile(limits={"m": {"tokens_per_minute": 5}}).per_minute("here", "m") == PerMinute(tokens=5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"requests_per_minute": 0}, "turnstile: requests_per_minute=0: must be a number above 0"),
        ({"tokens_per_minute": float("inf")}, "turnstile: tokens_per_minute=inf: must be"),
        ({"burst": True}, "turnstile: burst=True: must be"),
        ({"patience": float("nan")}, "turnstile: patience=nan: must be"),
        ({"limits": {"m": 500}}, "turnstile: limits: 'm' must be a table, like {requests_per_minute = 500}"),
        ({"limits": {"m": {"requests_per_minute": "many"}}}, "'m': requests_per_minute='many': must be"),
        (
            {"limits": {"m": {"request_per_minute": 5}}},
            "turnstile: limits: 'm': unknown key 'request_per_minute'; did you mean 'requests_per_minute'",
        ),
    ],
)
def test_invalid_limits_raise(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Turnstile(**wrong)
    assert message in str(raised.value)


def test_input_and_output_have_their_own_limits() -> None:
    limits = Turnstile(
        input_tokens_per_minute=400_000,
        limits={"m": {"input_tokens_per_minute": 50_000, "output_tokens_per_minute": 8000}},
    )
    assert limits.per_minute("here", "m") == PerMinute(None, None, 50_000, 8000)
    assert limits.per_minute("here", "n") == PerMinute(None, None, 400_000, None)


@attrs.define(eq=False, kw_only=True)
class Coarse(RateLimits):
    """Supports only limits of requests and tokens."""

    name = "coarse"
    unsupported: ClassVar[dict[str, str]] = {"input_tokens_per_minute": "set tokens_per_minute"}


@pytest.mark.parametrize(
    "wrong",
    [{"input_tokens_per_minute": 5}, {"limits": {"m": {"input_tokens_per_minute": 5}}}],
)
def test_unsupported_limits_raise(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="input_tokens_per_minute: not supported here; set tokens_per"):
        Coarse(**wrong)
    assert Coarse(tokens_per_minute=5).per_minute("here", "m") == PerMinute(tokens=5)


def test_a_section_has_keys_of_the_base_class_and_the_subclass(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text(
        '[turnstile]\nburst = 0.5\npatience = 3\n[turnstile.limits."gpt-4.1"]\nrequests_per_minute = 500\n'
    )
    settings = load_settings({}, environ={"HEADRACE_TURNSTILE_TOKENS_PER_MINUTE": "1000"}, directory=tmp_path)
    turnstile = settings.section("turnstile", Turnstile)
    assert (turnstile.burst, turnstile.patience) == (0.5, 3)
    assert turnstile.per_minute("api.openai.com", "gpt-4.1") == PerMinute(500, 1000)
