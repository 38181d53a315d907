"""Settings: their sources, which source overrides which, and invalid values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from headrace import Client, SettingsError, Timeout
from headrace.settings import OPENAI_URL, Settings, load_settings

URL = "https://llm.example/v1"


@attrs.frozen
class RetrySettings:
    """A section of a plugin."""

    attempts: int = 3
    jitter: bool = True
    budget: float | None = None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder without settings files in its parents."""
    return tmp_path


def load(folder: Path, environ: Mapping[str, str] | None = None, /, **keywords: Any) -> Settings:
    return load_settings(keywords, environ=environ or {}, directory=folder)


def test_defaults_are_as_documented(folder: Path) -> None:
    core = load(folder).core
    assert core.base_url == OPENAI_URL
    assert core.api_key is None
    assert core.max_in_flight == 100
    assert core.timeouts() == Timeout(60.0, connect=10.0)
    assert core.max_response_bytes == 64 * 1024 * 1024
    assert core.policies is None
    assert not core.insecure


def test_a_file_in_the_folder_is_read(folder: Path) -> None:
    (folder / "headrace.toml").write_text("model = 'from-file'\nmax_in_flight = 7\n")
    core = load(folder).core
    assert (core.model, core.max_in_flight) == ("from-file", 7)


def test_a_table_of_pyproject_is_read(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.headrace]\nmodel = 'from-project'\n")
    assert load(folder).core.model == "from-project"


def test_a_pyproject_without_the_table_is_ignored(folder: Path) -> None:
    (folder / "headrace.toml").write_text("model = 'outer'\n")
    inner = folder / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert load(inner).core.model == "outer"


def test_only_the_file_in_the_closest_folder_is_read(folder: Path) -> None:
    (folder / "headrace.toml").write_text("model = 'outer'\nmax_in_flight = 7\n")
    inner = folder / "inner"
    inner.mkdir()
    (inner / "headrace.toml").write_text("model = 'inner'\n")
    core = load(inner).core
    assert (core.model, core.max_in_flight) == ("inner", 100)


def test_headrace_toml_overrides_pyproject_in_the_same_folder(folder: Path) -> None:
    (folder / "headrace.toml").write_text("model = 'own'\n")
    (folder / "pyproject.toml").write_text("[tool.headrace]\nmodel = 'project'\n")
    assert load(folder).core.model == "own"


def test_keywords_override_environment_and_environment_overrides_file(folder: Path) -> None:
    (folder / "headrace.toml").write_text(f"base_url = '{URL}/file'\nmodel = 'file'\nmax_in_flight = 1\n")
    environ = {"OPENAI_BASE_URL": f"{URL}/env", "HEADRACE_MAX_IN_FLIGHT": "2"}
    core = load(folder, environ, max_in_flight=3).core
    assert (core.base_url, core.model, core.max_in_flight) == (f"{URL}/env", "file", 3)


def test_headraces_variable_overrides_openais(folder: Path) -> None:
    environ = {"OPENAI_BASE_URL": f"{URL}/openai", "HEADRACE_BASE_URL": f"{URL}/own"}
    assert load(folder, environ).core.base_url == f"{URL}/own"


def test_an_empty_openai_variable_is_ignored(folder: Path) -> None:
    assert load(folder, {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}).core.api_key is None


def test_policies_in_the_environment_are_separated_by_commas(folder: Path) -> None:
    assert load(folder, {"HEADRACE_POLICIES": "retry, breaker,"}).core.policies == ("retry", "breaker")
    assert load(folder, {"HEADRACE_POLICIES": ""}).core.policies == ()


def test_a_keyword_of_none_is_ignored(folder: Path) -> None:
    assert load(folder, {"HEADRACE_MODEL": "m"}, model=None).core.model == "m"


def test_sections_merge_file_environment_and_keywords_key_by_key(folder: Path) -> None:
    (folder / "headrace.toml").write_text("[retry]\nattempts = 1\njitter = true\nbudget = 1.5\n")
    environ = {"HEADRACE_RETRY_ATTEMPTS": "2", "HEADRACE_RETRY_JITTER": "false"}
    section = load(folder, environ, retry={"attempts": 9}).section("retry", RetrySettings)
    assert section == RetrySettings(attempts=9, jitter=False, budget=1.5)


@pytest.mark.parametrize(
    ("keywords", "nearest"),
    [({"max_in_fligth": 3}, "max_in_flight"), ({"timeot": 3}, "timeout")],
)
def test_an_unknown_key_raises_with_a_suggestion(folder: Path, keywords: Any, nearest: str) -> None:
    with pytest.raises(SettingsError, match=f"did you mean '{nearest}'"):
        load(folder, **keywords)


def test_an_unknown_key_of_a_file_names_the_file(folder: Path) -> None:
    path = folder / "headrace.toml"
    path.write_text("modle = 'm'\n")
    with pytest.raises(SettingsError, match=r"headrace\.toml: unknown setting 'modle'; did you mean 'model'"):
        load(folder)


def test_an_unknown_key_of_a_section_names_the_section_with_a_suggestion(folder: Path) -> None:
    settings = load(folder, retry={"atempts": 3})
    with pytest.raises(SettingsError, match=r"\[retry\] unknown setting 'atempts'; did you mean 'attempts'"):
        settings.section("retry", RetrySettings)


def test_an_unknown_section_raises_with_a_suggestion(folder: Path) -> None:
    settings = load(folder, retri={"attempts": 3})
    settings.section("retry", RetrySettings)
    with pytest.raises(SettingsError, match="settings called 'retri'; did you mean 'retry'"):
        settings.check_claimed()


def test_an_unknown_variable_raises_with_a_suggestion(folder: Path) -> None:
    settings = load(folder, {"HEADRACE_MAX_IN_FLIGTH": "3"})
    with pytest.raises(SettingsError, match="HEADRACE_MAX_IN_FLIGTH; did you mean 'HEADRACE_MAX_IN_FLIGHT'"):
        settings.check_claimed()


def test_a_variable_of_a_claimed_section_is_known(folder: Path) -> None:
    settings = load(folder, {"HEADRACE_RETRY_ATTEMPTS": "3"})
    assert settings.section("retry", RetrySettings).attempts == 3
    settings.check_claimed()


def test_a_key_in_a_file_raises_and_is_not_shown(folder: Path) -> None:
    (folder / "headrace.toml").write_text("api_key = 'sk-canary'\n")
    with pytest.raises(SettingsError, match="OPENAI_API_KEY") as caught:
        load(folder)
    assert "sk-canary" not in str(caught.value)


def test_a_file_that_is_not_toml_is_named(folder: Path) -> None:
    (folder / "headrace.toml").write_text("model = \n")
    with pytest.raises(SettingsError, match=r"headrace\.toml"):
        load(folder)


@pytest.mark.parametrize(
    "keywords",
    [
        {"max_in_flight": 0},
        {"max_in_flight": "many"},
        {"max_in_flight": 2.5},
        {"timeout": -1},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": "soon"},
        {"connect_timeout": 0},
        {"max_response_bytes": 0},
        {"model": 5},
        {"policies": 5},
        {"api_key": 5},
    ],
)
def test_a_value_of_the_wrong_type_names_its_key(folder: Path, keywords: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(keywords))):
        load(folder, **keywords)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://a..b/v1",
        "http://.:8000/v1",
        "http://%41/v1",
        "http://[v1.x]/v1",
        f"http://{'a' * 64}.test/v1",
        "ftp://host/v1",
        "llm.example/v1",
        "//llm.example/v1",
        "",
        "https://",
        "https:///v1",
        "https://host:99999/v1",
        "https://host:0/v1",
        "https://host:port/v1",
        "https://[::1/v1",
        "https://ho st/v1",
        "https://host/v1\r\nX: y",
        "https://host/v1\x00",
        "https://host\n/v1",
        "https://host/\tv1",
        "https://höst/v1",
        "https://host/v1?api-version=1",
        "https://host/v1#part",
    ],
)
def test_an_invalid_base_url_raises(folder: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="base_url"):
        load(folder, base_url=url, api_key="k").core.validated_endpoints()[0]


@pytest.mark.parametrize("url", ["https://user:sk-canary@host/v1", "https://host/v1?key=sk-canary"])
def test_a_secret_in_the_base_url_raises_and_is_not_shown(folder: Path, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(folder, base_url=url).core.validated_endpoints()[0]
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "http://127.0.0.1/v1",
        "http://[::1]:8000/v1",
        "http://10.1.2.3/v1",
        "http://192.168.0.9/v1",
        "http://vllm:8000/v1",
        "http://models.internal/v1",
    ],
)
def test_plain_http_with_a_key_is_allowed_for_local_hosts(folder: Path, url: str) -> None:
    assert load(folder, base_url=url, api_key="k").core.validated_endpoints()[0].base_url == url


@pytest.mark.parametrize("url", ["http://llm.example/v1", "http://8.8.8.8/v1", "HTTP://llm.example/v1"])
def test_plain_http_with_a_key_to_a_public_host_needs_an_opt_in(folder: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="insecure=True"):
        load(folder, base_url=url, api_key="k").core.validated_endpoints()[0]
    assert load(folder, base_url=url, api_key="k", insecure=True).core.validated_endpoints()[0]
    assert load(folder, base_url=url).core.validated_endpoints()[0], (
        "without a key there is nothing to protect"
    )


def test_the_scheme_is_lower_case_and_a_trailing_slash_is_removed(folder: Path) -> None:
    endpoint = load(folder, base_url="HTTPS://llm.example/v1/", api_key="k").core.validated_endpoints()[0]
    assert endpoint.base_url == URL


@pytest.mark.parametrize("key", ["sk\r\nX: y", "sk\n", " sk", "sk\x00", "schlüssel", ""])
def test_a_key_that_is_not_valid_in_a_header_raises_and_is_not_shown(folder: Path, key: str) -> None:
    with pytest.raises(SettingsError, match="api_key") as caught:
        load(folder, base_url=URL, api_key=key).core.validated_endpoints()[0]
    assert not key.strip() or key not in str(caught.value)


def test_openai_without_a_key_raises_an_error_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        Client(policies=[])
