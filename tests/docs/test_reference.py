"""The reference and the tree of modules match the code."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import click
import msgspec
import pytest

import headrace
import headrace.bulk
import headrace.plugins
from headrace import errors
from headrace.bulk.line_encoding import encode_line
from headrace.bulk.output_line import LineNotes
from headrace.calls import Outcome
from headrace.cli.job_keys import JOB_KEYS, REQUEST_KEYS, STEP_KEYS
from headrace.cli.main import cli
from headrace.client.api_methods import ApiMethods
from headrace.pipeline import hookspecs
from headrace.policies import Stage
from headrace.replies import Headers, Reply
from headrace.settings import CoreSettings
from headrace.wire.parameters import CallOptions, ModelOptions
from headrace_adaptive import Adaptive
from headrace_breaker import Breaker
from headrace_cost import Cost
from headrace_hedge import Hedge
from headrace_logging import Logging
from headrace_otel import Otel
from headrace_pace import Pace
from headrace_redis import Account
from headrace_repair import Repair
from headrace_retry import Retry
from headrace_route import Route

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
NOT_FROM_A_FILE = {"rng", "tracer_provider", "meter_provider"}


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """The text below a heading, up to the next heading of the same or a higher level."""
    level = heading.count("#")
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{level}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without the heading rows."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = [number for number, row in enumerate(cells) if set("".join(row)) <= {"-"} and "".join(row)]
    heads = {number - 1 for number in rules} | set(rules)
    return [row for number, row in enumerate(cells) if number not in heads]


# hooks.md

HOOKS = [
    function
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction)
    if name.startswith("headrace_")
]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.__name__)
def test_every_hook_is_documented_with_its_arguments(hook: Any) -> None:
    arguments = list(inspect.signature(hook).parameters)
    text = section(page("hooks.md"), f"## {hook.__name__}({', '.join(arguments)})")
    table = {row[0]: row[1] for row in rows(text)}
    assert {"called", "returns", *(f"`{argument}`" for argument in arguments)} <= table.keys()
    if "None" in str(hook.__annotations__["return"]) and hook.__annotations__["return"] != "None":
        assert "None" in table
    since = re.search(r"Since ([\d.]+\d)", hook.__doc__)
    assert since
    assert since[0] in text


def test_only_existing_hooks_are_documented() -> None:
    named = set(re.findall(r"^## (headrace_\w+)", page("hooks.md"), re.MULTILINE))
    assert named == {hook.__name__ for hook in HOOKS}


def test_stages_are_documented_in_order() -> None:
    table = rows(section(page("hooks.md"), "## Stages"))
    assert [row[0] for row in table] == [f"`{stage.name}`" for stage in Stage]
    for policy in (Route, Retry, Repair, Breaker, Pace, Cost, Logging, Otel, Adaptive, Hedge):
        assert policy.name in next(row[2] for row in table if row[0] == f"`{policy.stage.name}`")


# settings.md


def shown(default: Any) -> str:
    """A default in the form of the tables."""
    return "none" if default is None else f"`{json.dumps(default)}`"


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("## Core", CoreSettings),
        ("## `[route]`", Route),
        ("## `[retry]`", Retry),
        ("## `[repair]`", Repair),
        ("## `[breaker]`", Breaker),
        ("## `[pace]`", Pace),
        ("## `[cost]`", Cost),
        ("## `[logging]`", Logging),
        ("## `[adaptive]`", Adaptive),
        ("## `[hedge]`", Hedge),
        ("## `[otel]`", Otel),
        ("## `[redis]`", Account),
    ],
)
def test_every_setting_is_documented_with_its_default(heading: str, kind: type) -> None:
    fields = [field for field in attrs.fields(kind) if field.init and field.name not in NOT_FROM_A_FILE]
    default_instance = kind()  # some defaults depend on other settings
    expected = {f"`{field.name}`": shown(getattr(default_instance, field.name)) for field in fields}
    assert {row[0]: row[2] for row in rows(section(page("settings.md"), heading))} == expected


# cli.md


@pytest.mark.parametrize(
    "name",
    ["run", "report", "chat", "demo", "serve", "bench", "simulate", "plugins", "plugin new", "completion"],
)
def test_every_option_is_documented(name: str) -> None:
    text = section(page("cli.md"), f"## headrace {name}")
    expected = set()
    for parameter in command(name).params:
        if isinstance(parameter, click.Argument):
            expected.add(parameter.metavar or "")
        else:
            expected |= set(parameter.opts)
    name_of_one = r"`((?:--?[a-z][a-z-]*)|INPUT|QUESTION|NAME|OUT\.jsonl|SHELL|SCENARIO)`"
    named = {cell for row in rows(text) for cell in re.findall(name_of_one, row[0])}
    assert named == expected


def command(name: str) -> click.Command:
    found: click.Command = cli
    for word in name.split():
        assert isinstance(found, click.Group)
        found = found.commands[word]
    return found


def test_every_command_is_documented() -> None:
    named = set(re.findall(r"^## headrace (\w+)", page("cli.md"), re.MULTILINE))
    assert named == set(cli.commands)


def test_every_default_of_serve_is_documented() -> None:
    text = section(page("cli.md"), "## headrace serve")
    table = {row[0].strip("`"): row[1].strip("`") for row in rows(text)}
    for parameter in cli.commands["serve"].params:
        without = {
            "rate_limit": "no limit",
            "quirks": "none",
            "tls": "off",
            "certificate": "made",
            "batch_time": "1s",
            "batch_max_tokens": "no limit",
            "key": "none",
        }
        default = without.get(parameter.name or "", str(parameter.default).removesuffix(".0"))
        assert table[parameter.opts[0]] == default


def test_exit_codes_match_the_command() -> None:
    from headrace.cli.main import Mistake
    from headrace.cli.run import INTERRUPTED, SOME_FAILED

    codes = {row[0] for row in rows(section(page("cli.md"), "## Exit codes"))}
    assert codes == {"0", str(SOME_FAILED), str(Mistake.exit_code), str(INTERRUPTED)}


# errors.md


def test_every_error_is_documented_with_its_attributes() -> None:
    expected = {}
    for name in errors.__all__:
        kind = getattr(headrace, name)
        parent = next(base.__name__ for base in kind.__bases__)
        row = [f"`{parent}`", "", "", ""]
        if issubclass(kind, headrace.CallError):
            retryable = "by status" if issubclass(kind, headrace.StatusError) else yes(kind.retryable)
            row = [f"`{parent}`", f"`{kind.code}`", retryable, yes(kind.ends_run)]
        expected[f"`{name}`"] = row
    assert {row[0]: row[1:5] for row in rows(section(page("errors.md"), "## The tree"))} == expected


def yes(value: bool) -> str:
    return "yes" if value else "no"


# output-format.md


def test_every_member_of_an_output_line_is_documented() -> None:
    reply = Reply(200, Headers([]), b"{}", cost=Decimal(1), possible_cost=Decimal(1))
    line = msgspec.json.decode(
        encode_line(0, "a", Outcome(0, None, reply, None), "yes", headrace.AnswerError("no"), 0.0, 7)
    )
    expected = set(line)
    for name in ("response", "error", "headrace"):
        expected |= {f"{name}.{member}" for member in line[name]}
    assert {row[0].strip("`") for row in rows(section(page("output-format.md"), "## A line"))} == expected


def test_every_member_of_a_line_with_steps_or_samples_is_documented() -> None:
    documented = {
        row[0].strip("`").removeprefix("headrace.")
        for heading in ("## A line", "## A line of a job with steps", "## A line of a run with samples")
        for row in rows(section(page("output-format.md"), heading))
        if row[0].startswith("`headrace.")
    }
    members = {field.name for field in msgspec.structs.fields(LineNotes)}
    # The first two are in the journal of the steps, the last one is in no file.
    assert members - {"step", "request", "fingerprint"} == documented


# job-files.md


def test_every_key_of_a_job_file_is_documented() -> None:
    for heading, keys in (("## The job", set(JOB_KEYS) - set(REQUEST_KEYS)), ("## A step", set(STEP_KEYS))):
        found = {
            key
            for row in rows(section(page("job-files.md"), heading))
            for key in re.findall(r"`(\w+)`", row[0])
        }
        assert found - {"step"} == keys


# calls.md


@pytest.mark.parametrize(
    ("heading", "keywords"),
    [
        ("## Keywords of all calls", CallOptions.__optional_keys__),
        ("## Keywords of calls of a model", ModelOptions.__optional_keys__ - CallOptions.__optional_keys__),
    ],
)
def test_every_keyword_of_a_call_is_documented(heading: str, keywords: frozenset[str]) -> None:
    assert {row[0].strip("`") for row in rows(section(page("calls.md"), heading))} == keywords


def test_every_method_for_one_call_is_documented() -> None:
    named = {row[0].strip("`").partition("(")[0] for row in rows(section(page("calls.md"), "# Calls"))}
    methods = {
        name for name, _ in inspect.getmembers(ApiMethods, inspect.isfunction) if not name.startswith("_")
    }
    assert methods <= named


def test_every_name_for_plugin_authors_is_documented() -> None:
    text = section(page("hooks.md"), "## What plugins import")
    named = [name.strip().strip("`") for row in rows(text) for name in row[0].split(",")]
    assert sorted(named) == sorted(headrace.plugins.__all__)


def test_every_name_for_engine_authors_is_documented() -> None:
    text = section(page("hooks.md"), "## headrace_engines()").partition(
        "For engines, `headrace.bulk` has these names"
    )[2]
    named = {name.strip().strip("`") for row in rows(text) for name in row[0].split(",")}
    in_python = {
        "BulkRun",
        "Journal",
        "LocalExecutor",
        "ProcessExecutor",
        "RateHistory",
        "Result",
        "RowSource",
        "Run",
        "Source",
        "Summary",
        "Task",
        "failure_rows",
        "read_status",
        "run",
        "status_rows",
        "write_table",
    }
    assert named == set(headrace.bulk.__all__) - in_python - names_for_control()


def names_for_control() -> set[str]:
    text = section(page("hooks.md"), "## headrace_run_context(control)").partition("these\nnames:")[2]
    return {name.strip().strip("`") for row in rows(text) for name in row[0].split(",")}


def test_every_name_for_the_control_of_runs_is_documented() -> None:
    assert names_for_control() == {*headrace.bulk.control.__all__, "AdjustableLimits"}


# ../explanation/architecture.md


def test_tree_has_the_layers_of_the_import_contract_in_order() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [re.findall(r"\w+", layer) for layer in linter["contracts"][0]["layers"]]
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    lines = [re.findall(r"\b([a-z_]+)(?:/|\.py)", line) for line in section(text, "## The tree").splitlines()]
    rooms = {room for floor in layers for room in floor}
    floors = [sorted(line) for line in lines if line and set(line) <= rooms]
    assert floors == [sorted(floor) for floor in layers]
