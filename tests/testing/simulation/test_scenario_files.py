"""Scenario files: what they may say, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import SettingsError
from headrace.testing.simulation import (
    BrownOut,
    ClosedLoad,
    Errors,
    Exponential,
    Fixed,
    Lognormal,
    OpenLoad,
    Outage,
    Profile,
    Uniform,
    parse_scenario,
    read_scenario,
    with_settings,
)

LEAST = """
duration = "1min"

[load]
kind = "open"
rate = 10

[endpoint]
capacity = 10
service = 1
"""


def test_little_has_to_be_said() -> None:
    scenario = parse_scenario(LEAST, "s.toml")
    assert scenario.duration == 60
    assert scenario.width == 1
    assert scenario.stands_for == scenario.processes == 1
    assert scenario.load == OpenLoad(rate=Profile(((0.0, 10.0),)))
    assert scenario.endpoint.service == Fixed(1.0)
    assert [variant.name for variant in scenario.variants] == [""]


def test_all_that_a_scenario_may_say() -> None:
    scenario = parse_scenario(
        """
        title = "All of it"
        about = "For the test."
        seed = 7
        duration = "1h"
        every = "2min"
        stands_for = 10
        max_in_flight = 500
        timeout = 20

        [load]
        kind = "closed"
        customers = 1000
        think = { kind = "exponential", mean = "5s" }
        deadline = "30s"

        [endpoint]
        capacity = 100
        service = { kind = "lognormal", mean = "800ms", p95 = 2 }
        queue = 0
        queue_timeout = "10s"
        round_trip = 0.02
        requests_per_minute = 60_000
        tokens_per_minute = 1_000_000
        prompt_tokens = 300
        completion_tokens = { kind = "uniform", least = 10, most = 500 }
        key_revoked_at = "50min"

        [[outages]]
        from = "10min"
        to = "20min"
        kind = "hang"

        [[brown_outs]]
        from = 0
        to = 10
        capacity = 0.5
        speed = 0.1

        [[errors]]
        to = "1min"
        share = "5%"
        kinds = ["429", "reset"]

        [retry]
        attempts = 2

        [variants.patient.retry]
        attempts = 8

        [variants.plain]
        policies = []
        """,
        "s.toml",
    )
    assert isinstance(scenario.load, ClosedLoad)
    assert scenario.load.think == Exponential(5.0)
    assert scenario.endpoint.service == Lognormal(0.8, 2.0)
    assert scenario.endpoint.completion_tokens == Uniform(10.0, 500.0)
    assert scenario.endpoint.queue == 0
    assert scenario.outages == (Outage(from_=600, to=1200, kind="hang"),)
    assert scenario.brown_outs == (BrownOut(from_=0, to=10, capacity=0.5, speed=0.1),)
    assert scenario.errors == (Errors(to=60, share=0.05, kinds=("429", "reset")),)
    patient, plain = scenario.variants
    assert patient.settings == {"max_in_flight": 500, "timeout": 20, "retry": {"attempts": 8}}
    assert plain.settings["policies"] == []
    assert plain.settings["retry"] == {"attempts": 2}


WRONG = {
    "duration = ": "Invalid value",
    LEAST.replace("duration", "duraton"): "unknown key 'duraton'; did you mean 'duration'?",
    LEAST.replace('duration = "1min"', ""): "duration is missing",
    LEAST.replace("1min", "1 minute"): "duration: '1 minute' is not a duration: the units are",
    LEAST.replace('"1min"', "-5"): "duration: -5 is below 0",
    LEAST.replace('"1min"', "true"): "duration: True is not a duration",
    LEAST.partition("[load]")[0]: "[load] is missing",
    LEAST.replace("[load]", "[lod]"): "no plugin has settings called 'lod'; did you mean 'load'?",
    LEAST.replace("open", "opne"): "[load] kind = 'opne': did you mean 'open'?",
    LEAST.replace("rate", "rats"): "[load] unknown key 'rats'; did you mean 'rate'?",
    LEAST.replace("rate = 10", ""): "[load] rate is missing",
    LEAST.replace("rate = 10", "rate = 0"): "[load] rate: must be above 0 somewhere",
    LEAST.replace("rate = 10", "rate = [[10, 1], [0, 2]]"): "[load] rate: the times of its points must not",
    LEAST.replace("rate = 10", "rate = [[10]]"): "[load] rate: must be a rate, or points",
    LEAST.replace("capacity", "capcity"): "[endpoint] unknown key 'capcity'; did you mean 'capacity'?",
    LEAST.replace("capacity = 10", "capacity = 0.5"): "[endpoint] capacity: 0.5 is not a whole number",
    LEAST.replace("service = 1", 'service = { kind = "lognorm", mean = 1 }'): (
        "[endpoint] service: kind = 'lognorm': did you mean 'lognormal'?"
    ),
    LEAST.replace("service = 1", 'service = { kind = "lognormal", mean = 1 }'): (
        "[endpoint] service: lognormal needs 'p95'"
    ),
    LEAST.replace("service = 1", 'service = { kind = "lognormal", mean = 1, p95 = 9 }'): (
        "[endpoint] service: p95 must be above the mean, and at most 3.86 times as high"
    ),
    LEAST.replace("service = 1", 'service = { kind = "uniform", least = 1, mots = 9 }'): (
        "[endpoint] service: uniform has no 'mots'; did you mean 'most'?"
    ),
    LEAST + "[[outages]]\nfrom = 1\nto = 5\n[[outages]]\nfrom = 10\nto = 5": (
        "[[outages]] no. 2: to must be after from"
    ),
    LEAST + "[[outages]]\nto = 5": "[[outages]] no. 1: from is missing",
    LEAST + '[[outages]]\nfrom = 1\nto = 5\nkind = "refusd"': "kind: 'refusd': did you mean 'refused'?",
    LEAST + "[outages]\nfrom = 1": "outages: must be tables like [[outages]]",
    LEAST
    + '[[errors]]\nto = 5\nshare = "150%"': "[[errors]] no. 1: share: '150%' is not a share: it must be",
    LEAST + '[[errors]]\nto = 5\nshare = 0.1\nkinds = ["501"]': "kinds: '501': did you mean",
    LEAST + "[retry]\nattemps = 3": "[retry] unknown setting 'attemps'; did you mean 'attempts'?",
    LEAST + "[retry]\nattempts = 0": "retry: attempts=0: must be a number of at least 1",
    LEAST + "[variants.a.retry]\nattemps = 3": "[variants.a] [retry] unknown setting 'attemps'",
    LEAST + "[variants.a]\nmax_in_fligt = 3": (
        "[variants.a] unknown key 'max_in_fligt'; did you mean 'max_in_flight'?"
    ),
    LEAST + "[variants]\na = 3": "variants: must be tables of settings",
    'policies = ["retri"]\n' + LEAST: "no plugin has a policy called 'retri'; did you mean 'retry'?",
    'base_url = "https://a.example/v1"\n' + LEAST: "base_url cannot be set: the endpoint is simulated",
    "every = 0.001\n" + LEAST: "every: 0.001 s makes more than 10,000 rows",
    "processes = 0\n" + LEAST: "processes: 0 is not a whole number of at least 1",
    "processes = 5\n" + LEAST.replace('"open"', '"bulk"').replace("rate = 10", "items = 4"): (
        "processes: 5 are more than there are items: 4"
    ),
    "stands_for = 100\n" + LEAST: "stands_for: [endpoint] capacity is 10, of which 100 leave none",
}


@pytest.mark.parametrize("content", WRONG)
def test_what_is_wrong_is_said_in_one_line_with_file_and_key(content: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_scenario(content, "my.toml")
    message = str(caught.value)
    assert message.startswith("my.toml: ")
    assert WRONG[content] in message
    assert "\n" not in message


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: No such file"):
        read_scenario(tmp_path / "nowhere.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"binary\.toml: is not UTF-8"):
        read_scenario(binary)


def test_settings_of_your_own_are_one_more_variant(tmp_path: Path) -> None:
    own = tmp_path / "headrace.toml"
    own.write_text('base_url = "https://a.example/v1"\n[retry]\nattempts = 9\n', encoding="utf-8")
    scenario = with_settings(parse_scenario(LEAST, "s.toml"), own)
    assert [variant.name for variant in scenario.variants] == ["", "headrace.toml"]
    assert scenario.variants[1].settings == {"retry": {"attempts": 9}}
    own.write_text("[retry]\nattemps = 9\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"headrace\.toml: \[retry\] unknown setting 'attemps'"):
        with_settings(scenario, own)
