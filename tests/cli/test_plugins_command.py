"""`headrace plugins`: what each plugin provides, with the settings of `headrace run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click
import pytest
from click.testing import CliRunner, Result

from headrace import Client, Event, Send, Settings, SettingsError, Stage, hookimpl
from headrace.cli.main import cli
from headrace.testing import FakeEndpoint
from headrace.transports.memory import MemoryTransport

Install = Callable[..., None]


@attrs.frozen
class Section:
    size: int = 1


@attrs.frozen
class Policy:
    name: str = "guard"
    stage: Stage = Stage.PROTECT
    size: int = 1

    def wrap(self, send: Send) -> Send:
        return send


@attrs.frozen
class Observer:
    name: str = "watch"
    size: int = 1

    def notify(self, event: Event) -> None:
        """Nothing to do."""


class Engine:
    name = "farm"
    options = (click.Option(["--hands"]), click.Option(["--field"]))

    def run(self, job: Any, options: Any) -> Any:
        raise NotImplementedError


def plugin(**hooks: Callable[..., Any]) -> ModuleType:
    module = ModuleType("plugin")
    for name, function in hooks.items():
        setattr(module, name, hookimpl(function))
    return module


def policies(settings: Settings) -> list[Policy]:
    return [Policy(size=settings.section("guard", Section).size)]


def observers(settings: Settings) -> list[Observer]:
    return [Observer(size=settings.section("watch", Section).size)]


def transport(settings: Settings) -> MemoryTransport | None:
    settings.section("wire", Section)
    return MemoryTransport(FakeEndpoint().handle) if settings.core.transport == "wire" else None


def commands(cli: click.Group) -> None:
    cli.add_command(click.Command("till"))


@pytest.fixture
def listing(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    """Lists three plugins, with this headrace.toml."""
    install(
        one=plugin(headrace_policies=policies, headrace_transport=transport),
        two=plugin(
            headrace_observers=observers,
            headrace_engines=lambda: [Engine()],
            headrace_commands=commands,
        ),
        three=ModuleType("three"),
    )
    monkeypatch.chdir(tmp_path)

    def listing(toml: str = "") -> Result:
        (tmp_path / "headrace.toml").write_text(toml, encoding="utf-8")
        return CliRunner().invoke(cli, ["plugins"])

    return listing


def test_everything_that_plugins_provide_is_listed_with_its_settings(listing: Callable[..., Result]) -> None:
    result = listing("transport = 'wire'\n[guard]\nsize = 2\n[watch]\nsize = 3\n[wire]\nsize = 4")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "one  headrace-one 1.0",
        "  policy guard, stage PROTECT",
        "    name = 'guard'",
        "    stage = <Stage.PROTECT: 50>",
        "    size = 2",
        "  transport MemoryTransport",
        "three  headrace-three 1.0",
        "  nothing",
        "two  headrace-two 1.0",
        "  observer watch",
        "    name = 'watch'",
        "    size = 3",
        "  engine farm, options --hands, --field",
        "  command till",
    ]


def test_hooks_that_provide_nothing_with_these_settings_are_listed(listing: Callable[..., Result]) -> None:
    assert "  no transport, with the current settings\n" in listing().output


@pytest.mark.parametrize(
    "toml",
    [
        "[guard]\nsize = 2",
        "[watch]\nsize = 2",
        "[wire]\nsize = 2",
        "transport = 'wire'\n[wire]\nsize = 2",
        "transport = 'native'\n[watch]\nsize = 2",
        "transport = 'native'\n[wire]\nsize = 2",
        "policies = []\n[guard]\nsize = 2",
        "[wires]\nsize = 2",
        "[watch]\nsise = 2",
    ],
)
def test_plugins_checks_sections_like_a_client(listing: Callable[..., Result], toml: str) -> None:
    result = listing(toml)
    refused = ""
    try:
        Client(base_url="http://fake.test/v1")
    except SettingsError as error:
        refused = str(error)
    assert result.exit_code == (2 if refused else 0), result.output
    assert refused in result.output


def test_listing_adds_no_commands(listing: Callable[..., Result]) -> None:
    before = set(cli.commands)
    assert "  command till" in listing().output
    assert set(cli.commands) == before
