"""Arguments of a run with another type or an impossible value."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest

import headrace
from headrace.errors import HeadraceError, SettingsError
from headrace.testing import FakeEndpoint

ROWS = [{"id": "a", "x": "1"}]
OTHERS: tuple[Any, ...] = (5, -1, "x", "", [], {}, object(), b"x", True, 1.5, ["a", 1], {"a": 1}, len)
NAMES = (
    *("out", "table", "choices", "fail_on", "id_column", "encoding", "system", "parameters", "template"),
    *("messages", "examples", "model_column", "tags", "priority", "extra_body", "image", "file", "audio"),
    *("max_pixels", "on_missing", "limit", "wait_for_endpoint", "deadline", "max_in_flight", "changed"),
    *("processes", "only"),
)
VALID = {"out": "x"}


@pytest.mark.anyio
@pytest.mark.parametrize("name", NAMES)
async def test_an_argument_of_another_type_is_one_line_or_has_a_meaning(name: str) -> None:
    messages = []
    async with FakeEndpoint(otherwise="x").client() as client:
        for value in OTHERS:
            if VALID.get(name) != value:
                try:
                    await headrace.run(client, ROWS, **{"prompt": "{x}", name: value})
                except HeadraceError as error:
                    messages.append(str(error))
    assert len(messages) >= len(OTHERS) - 5
    assert not [message for message in messages if "\n" in message or len(message) > 1200]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"deadline": "2h"}, "deadline='2h': must be a number of seconds above 0"),
        ({"deadline": -1}, "deadline=-1: must be a number of seconds above 0"),
        ({"wait_for_endpoint": "10m"}, "wait_for_endpoint='10m': must be a number of seconds above 0"),
        ({"wait_for_endpoint": None}, "wait_for_endpoint=None: must be a number of seconds above 0"),
        ({"max_in_flight": 0}, "max_in_flight=0: must be an integer from 1 to 1,000,000"),
        ({"limit": 2.5}, "limit=2.5: must be an integer of at least 1"),
        ({"processes": "2"}, "processes='2': must be an integer of at least 1"),
        ({"changed": "Resend"}, "changed='Resend': must be 'refuse' or 'resend'"),
        ({"out": 5}, "out=5: must be a path"),
        ({"id_column": 5}, "id_column=5: must be the name of a column, or a function"),
        ({"tags": ["a"]}, "tags=['a']: must be a mapping"),
        ({"messages": ["chat"]}, "messages=['chat']: must be the name of a column"),
    ],
)
def test_a_wrong_value_is_named_when_the_run_is_made(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        headrace.run(FakeEndpoint().client(), ROWS, **{"prompt": "{x}", **arguments})
    assert str(caught.value) == message


@pytest.mark.parametrize("client", ["products.csv", None, 5])
def test_what_is_no_client_is_named(client: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        headrace.run(client, ROWS, prompt="{x}")
    assert (
        str(caught.value)
        == f"client={client!r}: must be an open headrace.Client, or a callable that makes one"
    )


@pytest.mark.anyio
async def test_numbers_of_numpy_and_infinity_are_numbers() -> None:
    async with FakeEndpoint(otherwise="ok").client() as client:
        result = await headrace.run(
            client,
            [{"x": "1"}, {"x": "2"}],
            prompt="{x}",
            limit=numpy.int64(1),
            wait_for_endpoint=math.inf,
            deadline=numpy.float32(60),
        )
    assert result.succeeded == 1
