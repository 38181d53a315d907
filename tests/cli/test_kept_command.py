"""The command that a sidecar keeps."""

from __future__ import annotations

import sys

import pytest

from headrace.cli.kept_command import kept_command
from headrace.testing import FakeEndpoint


def test_a_name_that_is_not_utf_8_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["headrace", "run", "a\udcff.csv", "--out", "Ä.jsonl"])
    kept = kept_command(FakeEndpoint().client())
    assert "a\ufffd.csv" in kept
    assert "Ä.jsonl" in kept
    assert kept.encode()
