"""What is masked in a text that is kept, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._support.secret_masking import mask_command, mask_keys, mask_secrets

SECRET = "Zq7-canary_91"


@pytest.mark.parametrize(
    "text",
    [
        f"--base-url https://me:{SECRET}@host/v1",
        f"--base-url https://{SECRET}@host/v1",
        f"redis://:{SECRET}@host:6379/0",
        f"--param user=sk-proj-{SECRET}",
        f"gsk_{SECRET}",
        f"--api-key {SECRET}",
        f"--redis-password={SECRET}",
        f"--token '{SECRET}'",
        f"--token 'two words {SECRET}'",
        f"https://me:p@{SECRET}@host/v1",
        f'\'{{"api_key": "{SECRET}"}}\'',
        f"https://host/v1?api-key={SECRET}&version=1",
        f"Authorization: Bearer {SECRET}",
        f"OPENAI_API_KEY={SECRET}",
        f"password: {SECRET}",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    assert SECRET not in mask_secrets(text)
    assert "***" in mask_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "headrace run in.csv --prompt 'Count each token in {text}' --param max_tokens=5 --out out.jsonl",
        "--base-url https://host:8000/v1 --choices 'secret,public' --id-column key",
        "task-abcdefghij ask-for-an-answer mail me@example.com",
    ],
)
def test_other_text_is_kept(text: str) -> None:
    assert mask_secrets(text) == text


@pytest.mark.parametrize(
    "arguments",
    [
        ["--token", f"two words {SECRET}"],
        [f"--redis-password=two words {SECRET}"],
        [f"https://me:{SECRET}@host", f"sk-{SECRET}"],
    ],
)
def test_secret_arguments_are_masked_whole(arguments: list[str]) -> None:
    command = mask_command(["headrace", "run", *arguments, "--limit", "5"])
    assert SECRET not in command
    assert command.startswith("headrace run ")
    assert command.endswith(" --limit 5")


@given(st.text())
def test_masking_twice_changes_nothing_more(text: str) -> None:
    assert mask_keys(mask_keys(text)) == mask_keys(text)
    assert isinstance(mask_secrets(text), str)
