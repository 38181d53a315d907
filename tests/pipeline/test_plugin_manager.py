"""Plugins: found once per client, named in every error, in an order that does not matter."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import attrs
import pluggy
import pytest

from headrace import Client, PluginError, Send, Settings, SettingsError, Stage, hookimpl
from headrace.pipeline import hookspecs
from headrace.testing import FakeEndpoint
from headrace.transports.memory import MemoryTransport

Install = Callable[..., None]
URL = "http://fake.test/v1"


@attrs.frozen
class Policy:
    name: str
    stage: Stage = Stage.OBSERVE

    def wrap(self, send: Send) -> Send:
        return send


def plugin(**hooks: Callable[..., Any]) -> ModuleType:
    """A module with these hooks."""
    module = ModuleType("plugin")
    for name, function in hooks.items():
        setattr(module, name, hookimpl(function))
    return module


def bringing(*policies: object) -> ModuleType:
    return plugin(headrace_policies=lambda settings: policies)


def names(client: Client) -> list[str]:
    return [policy.name for policy in client.policies]


def make(**keywords: Any) -> Client:
    return FakeEndpoint().client(None, **keywords)


def test_policies_are_sorted_by_stage_and_name_not_by_discovery(install: Install) -> None:
    first = bringing(Policy("pace", Stage.PACE), Policy("b"))
    second = bringing(Policy("retry", Stage.PERSIST), Policy("a"), Policy("cost", Stage.ACCOUNT))
    expected = ["a", "b", "cost", "retry", "pace"]
    install(one=first, two=second)
    assert names(make()) == expected
    install(two=second, one=first)
    assert names(make()) == expected


def test_a_plugin_may_return_nothing(install: Install) -> None:
    install(none=plugin(headrace_policies=lambda settings: None), empty=bringing(), bare=ModuleType("bare"))
    assert names(make()) == []


def test_two_plugins_with_the_same_policy_name_are_both_named(install: Install) -> None:
    install(one=bringing(Policy("retry")), two=bringing(Policy("retry")))
    with pytest.raises(PluginError, match=r"headrace-two 1\.0.*headrace-one 1\.0.*'retry'"):
        make()


def test_an_import_error_names_the_plugin_and_its_distribution(install: Install) -> None:
    install(broken=ImportError("no module named 'numpy'"))
    with pytest.raises(PluginError, match=r"'broken' \(headrace-broken 1\.0\).*numpy.*uninstall") as caught:
        make()
    assert isinstance(caught.value.__cause__, ImportError)


def test_an_interrupt_during_an_import_is_no_import_error(install: Install) -> None:
    # As Python 3.11 raises one in `__set_name__`.
    wrapped, error = RuntimeError("Error calling __set_name__"), ImportError("x")
    wrapped.__cause__, error.__cause__ = KeyboardInterrupt(), wrapped
    install(broken=error)
    with pytest.raises(KeyboardInterrupt):
        make()


@pytest.mark.parametrize("hook", [hook for hook in vars(hookspecs) if hook.startswith("headrace_")])
def test_a_hook_without_hookimpl_raises_an_error_with_advice(install: Install, hook: str) -> None:
    module = ModuleType("plugin")
    setattr(module, hook, lambda **arguments: None)
    install(bare=module)
    with pytest.raises(PluginError, match=rf"'bare' \(headrace-bare 1\.0\): {hook} .* @headrace\.hookimpl"):
        make()


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "not marked"])
@pytest.mark.parametrize(
    ("misspelt", "nearest"),
    [
        ("headrace_polices", "did you mean 'headrace_policies'"),
        ("headrace_observer", "did you mean 'headrace_observers'"),
        ("headrace_transports", "did you mean 'headrace_transport'"),
        ("headrace_engine", "did you mean 'headrace_engines'"),
        ("headrace_command", "did you mean 'headrace_commands'"),
        ("headrace_x", "did you mean 'headrace_"),
    ],
)
def test_a_misspelt_hook_raises_an_error_with_a_suggestion(
    install: Install, misspelt: str, nearest: str, marked: bool
) -> None:
    module = ModuleType("plugin")
    setattr(module, misspelt, hookimpl(lambda: []) if marked else lambda: [])
    install(typo=module)
    with pytest.raises(PluginError, match=rf"'typo' \(headrace-typo 1\.0\): {misspelt} .*{nearest}"):
        make()


def test_a_misspelt_hook_is_found_for_any_kind_of_function(install: Install) -> None:
    class Plugin:
        @staticmethod
        def headrace_polices(settings: Settings) -> list[Policy]:
            return []

    for each in (Plugin(), Plugin, plugin(policies=lambda settings: [])):
        install(typo=each)
        with pytest.raises(PluginError, match=r"headrace-typo 1\.0.*did you mean 'headrace_policies'"):
            make()
    module = ModuleType("plugin")
    module.bring = hookimpl(specname="headrace_polices")(lambda settings: [])  # type: ignore[attr-defined]
    install(typo=module)
    with pytest.raises(PluginError, match=r"headrace_polices.*did you mean 'headrace_policies'"):
        make()


def test_other_members_with_the_prefix_of_hooks_are_ignored(install: Install) -> None:
    module = bringing(Policy("a"))
    module.headrace_pace = ModuleType("headrace_pace")  # type: ignore[attr-defined]
    module.headrace_version = "1.0"  # type: ignore[attr-defined]
    module.headrace_Policy = Policy  # type: ignore[attr-defined]
    module.later = hookimpl(optionalhook=True, specname="headrace_later")(lambda: [])  # type: ignore[attr-defined]
    install(one=module)
    assert names(make()) == ["a"]


def test_a_misspelt_argument_of_a_hook_raises(install: Install) -> None:
    install(typo=plugin(headrace_policies=lambda setings: []))
    with pytest.raises(PluginError, match=r"(?s)headrace-typo.*setings"):
        make()


def test_two_plugins_with_one_name_raise(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(same=bringing())
    found: Any = importlib.metadata.entry_points(group="headrace")
    other = attrs.evolve(found[0], content=bringing())
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [*found, other])
    with pytest.raises(PluginError, match="headrace-same"):
        make()


def test_an_error_of_a_hook_names_its_plugin(install: Install) -> None:
    def raising(settings: Settings) -> list[Policy]:
        raise RuntimeError("no licence")

    install(dear=plugin(headrace_policies=raising))
    with pytest.raises(PluginError, match=r"headrace-dear 1\.0.*headrace_policies.*no licence"):
        make()


def test_an_error_of_a_generator_hook_names_its_plugin(install: Install) -> None:
    def raising(settings: Settings) -> Iterator[Policy]:
        yield Policy("a")
        raise RuntimeError("no licence")

    install(dear=plugin(headrace_policies=raising))
    with pytest.raises(PluginError, match=r"headrace-dear 1\.0.*headrace_policies.*no licence"):
        make()


@pytest.mark.parametrize(
    ("nonsense", "message"),
    [
        (5, "not a list"),
        ("retry", "not a list"),
        ([5], "not a policy"),
        ([Policy], "did you mean Policy()"),
        ([SimpleNamespace(name="x", stage=10, wrap=lambda send: send)], "not a headrace.Stage"),
        ([SimpleNamespace(name=5, stage=Stage.PACE, wrap=lambda send: send)], "not a str"),
        ([SimpleNamespace(name="x", stage=Stage.PACE)], "needs name, stage and wrap"),
    ],
)
def test_invalid_policies_raise_and_name_the_plugin(install: Install, nonsense: object, message: str) -> None:
    install(odd=plugin(headrace_policies=lambda settings: nonsense))
    with pytest.raises(PluginError, match="headrace-odd") as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize("nonsense", [5, [5], [SimpleNamespace(notify=print)]])
def test_invalid_observers_raise_and_name_the_plugin(install: Install, nonsense: object) -> None:
    install(odd=plugin(headrace_observers=lambda settings: nonsense))
    with pytest.raises(PluginError, match="headrace-odd"):
        make()


def test_the_setting_policies_selects_but_does_not_sort(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(one=bringing(Policy("a"), Policy("b"), Policy("c", Stage.PACE)))
    monkeypatch.chdir(tmp_path)
    assert names(make()) == ["a", "b", "c"]
    (tmp_path / "headrace.toml").write_text("policies = ['c', 'a']")
    assert names(make()) == ["a", "c"]


def test_the_variable_policies_selects(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(one=bringing(Policy("a"), Policy("b"), Policy("c", Stage.PACE)))
    monkeypatch.setenv("HEADRACE_POLICIES", "c,a")
    assert names(make()) == ["a", "c"]


def test_an_unknown_selected_policy_raises_with_a_suggestion(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(one=bringing(Policy("retry")))
    monkeypatch.setenv("HEADRACE_POLICIES", "rety")
    with pytest.raises(SettingsError, match="'rety'; did you mean 'retry'"):
        make()


def test_no_plugin_is_loaded_with_policies(install: Install) -> None:
    install(broken=ImportError("never looked at"))
    assert names(FakeEndpoint().client([Policy("mine")])) == ["mine"]


def test_a_section_reaches_the_plugin_that_claims_it(install: Install) -> None:
    @attrs.frozen
    class Section:
        attempts: int = 3

    def policies(settings: Settings) -> list[Policy]:
        return [Policy(f"retry-{settings.section('retry', Section).attempts}")]

    install(retry=plugin(headrace_policies=policies))
    assert names(make(retry={"attempts": 5})) == ["retry-5"]
    with pytest.raises(SettingsError, match="did you mean 'attempts'"):
        make(retry={"atempts": 5})
    with pytest.raises(SettingsError, match="did you mean 'retry'"):
        make(retries={"attempts": 5})


def test_a_section_beside_policies_raises() -> None:
    with pytest.raises(SettingsError, match="retry= has no effect"):
        FakeEndpoint().client([], retry={"attempts": 5})


def test_a_plugin_may_provide_the_transport_and_claim_its_section(install: Install) -> None:
    @attrs.frozen
    class Section:
        size: int = 1

    seen: list[int] = []
    own_transport = MemoryTransport(FakeEndpoint().handle)

    def transport(settings: Settings) -> MemoryTransport:
        seen.append(settings.section("wire", Section).size)
        return own_transport

    install(wire=plugin(headrace_transport=transport))
    Client(base_url=URL, wire={"size": 4})
    Client(base_url=URL, transport="wire", wire={"size": 5}, policies=[])
    assert seen == [4, 5]
    Client(base_url=URL, transport="native")
    assert seen == [4, 5], "a plugin does not replace a transport that is requested by name"


def test_two_transports_or_an_invalid_one_raise_and_name_the_plugin(install: Install) -> None:
    offer = plugin(headrace_transport=lambda settings: MemoryTransport(FakeEndpoint().handle))
    install(one=offer, two=plugin(headrace_transport=offer.headrace_transport))
    with pytest.raises(PluginError, match=r"headrace-one.*headrace-two.*both offer a transport"):
        Client(base_url=URL)
    install(odd=plugin(headrace_transport=lambda settings: 5))
    with pytest.raises(PluginError, match=r"headrace-odd.*not a transport"):
        Client(base_url=URL)


def _hooks() -> list[Any]:
    return [
        member
        for name, member in vars(hookspecs).items()
        if inspect.isfunction(member) and hasattr(member, "headrace_spec")
    ]


def test_hooks_exist() -> None:
    assert {hook.__name__ for hook in _hooks()} >= {
        "headrace_policies",
        "headrace_observers",
        "headrace_transport",
        "headrace_commands",
    }
    assert isinstance(hookspecs.hookspec, pluggy.HookspecMarker)


@pytest.mark.parametrize("hook", _hooks(), ids=lambda hook: hook.__name__)
def test_every_hook_is_documented(hook: Any) -> None:
    text = inspect.getdoc(hook)
    assert text, "no docstring"
    assert "alled" in text
    assert "Since " in text
    signature = inspect.signature(hook)
    if "None" in str(signature.return_annotation) and str(signature.return_annotation) != "None":
        assert "None" in text
    for argument, parameter in signature.parameters.items():
        assert parameter.annotation is not parameter.empty, f"{argument} has no type"
        assert argument in text, f"{argument} is not documented"
