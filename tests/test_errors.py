"""Errors: their tree, their codes, whether a retry can help; none shows a secret."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import Any

import pytest

import headrace
from headrace import (
    CallError,
    CallTimeout,
    Client,
    ConnectError,
    Endpoint,
    HeadraceError,
    Request,
    Secret,
    SetupError,
    StatusError,
)
from headrace import errors as module
from headrace._support.text import nearest
from headrace.testing import Answer, FakeEndpoint

CANARY = "sk-canary-f00dfeed"

ALL: list[type[HeadraceError]] = [getattr(module, name) for name in module.__all__]


def _tree(kind: type[Exception], depth: int = 0) -> str:
    lines = [f"{'  ' * depth}{kind.__name__}"]
    lines += [_tree(child, depth + 1) for child in kind.__subclasses__() if child in ALL]
    return "\n".join(lines)


def test_the_tree_is_the_one_in_the_docstring() -> None:
    assert module.__doc__ is not None
    listed = [line[4:] for line in module.__doc__.splitlines() if line.startswith("    ")]
    names = [(len(line) - len(line.lstrip()), line.split()[0]) for line in listed if line.strip()]
    tree = [(len(line) - len(line.lstrip()), line.strip()) for line in _tree(HeadraceError).splitlines()]
    assert names == tree


def test_every_call_error_has_its_own_code() -> None:
    codes = {kind.__name__: kind.code for kind in ALL if issubclass(kind, CallError)}
    assert len(set(codes.values())) == len(codes), codes
    assert all(code == code.lower() and code.isascii() for code in codes.values())


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_can_be_made_from_a_message_and_pickled(kind: type[HeadraceError]) -> None:
    error = kind("what happened")
    if isinstance(error, CallError):
        error.request, error.attempts = Request({"model": "m"}, id="7"), 3
    again: Any = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == "what happened"
    if isinstance(again, CallError):
        assert (again.request, again.attempts) == (Request({"model": "m"}, id="7"), 3)
    assert kind.__doc__


def test_retryable_errors_are_those_that_a_retry_can_help() -> None:
    retryable = {k.__name__ for k in ALL if issubclass(k, CallError) and k("x").retryable}
    assert retryable == {
        "CallTimeout",
        "ConnectError",
        "CredentialError",
        "IncompleteReply",
        "InvalidReply",
        "LocalResourceError",
        "ProtocolError",
        "ProxyError",
    }


def test_setup_errors_are_also_value_or_runtime_errors() -> None:
    assert issubclass(headrace.SettingsError, ValueError)
    assert issubclass(headrace.RequestError, ValueError)
    assert issubclass(headrace.ClientStateError, RuntimeError)
    assert not issubclass(CallError, SetupError)


def test_the_phase_of_a_timeout_is_kept() -> None:
    assert CallTimeout("x", "read").phase == "read"
    assert CallTimeout("x").phase == "total"


def test_nearest_suggests_one_name_or_all() -> None:
    assert nearest("tempratur", ["temperature", "top_p"]) == "did you mean 'temperature'?"
    assert nearest("xyz", ["b", "a"]) == "known: a, b"


def test_a_secret_is_shown_only_by_reveal() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    assert CANARY not in f"{secret} {secret!r} {secret!s} {[secret]} {Endpoint('https://x', secret)}"
    with pytest.raises(TypeError, match="environment variable") as caught:
        pickle.dumps(secret)
    assert CANARY not in str(caught.value)
    with pytest.raises(TypeError):
        pickle.dumps(Endpoint("https://x", secret))


def test_settings_and_clients_do_not_show_the_key() -> None:
    client = Client(base_url="https://llm.example/v1", api_key=CANARY, policies=[])
    assert CANARY not in f"{client!r} {client.settings!r} {client.settings.validated_endpoints()[0]!r}"
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as caught:
        pickle.dumps(client.settings)
    assert CANARY not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "step",
    [
        Answer(status=400, body={"error": {"message": f"bad key {CANARY}"}}),
        Answer(status=401, body={"error": {"message": f"bad key {CANARY}", "code": CANARY}}),
        Answer(status=403, body=f"bad key {CANARY}".encode()),
        Answer(status=500, body=f"Authorization: Bearer {CANARY}".encode()),
        Answer(body={"error": {"message": f"bad key {CANARY}"}}),
        Answer(body=f"<html>{CANARY}</html>".encode()),
        Answer(status=307, body=b"", headers={"location": f"https://other.example/?key={CANARY}"}),
        ConnectError("refused"),
        ValueError("a bug"),
    ],
    ids=["400", "401", "403", "500", "error object", "html", "redirect", "refused", "bug"],
)
async def test_errors_tracebacks_pickles_and_logs_do_not_contain_the_key(
    step: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with FakeEndpoint(step).client(api_key=CANARY) as client:
        with pytest.raises(CallError) as caught:
            await client.chat("Hallo")
    error = caught.value
    logging.getLogger("app").error("failed: %r", error, exc_info=error)
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error) + caplog.text
    assert CANARY not in shown
    if isinstance(error, StatusError):
        assert CANARY.encode() not in error.body
        assert CANARY not in str(error.error_code)
    assert CANARY.encode() not in pickle.dumps(error)
