"""Values in a body: numbers and strings of other libraries, Decimals, NaN and infinity."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import types
from collections import OrderedDict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Client, Headers, Reply, Request, RequestError, SettingsError, Timeout, Tools
from headrace.testing import FakeEndpoint
from headrace.wire.json_encoding import encode_value


class Text(str):
    """Like the strings of markupsafe and NumPy."""


class Whole(int):
    """A subclass of int."""


class Real(float):
    """Like NumPy's float64."""


class Scalar:
    """Like NumPy's other scalars, which are not of Python's types."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)

    def tolist(self) -> Any:
        return self.value


class Index:
    """A number by its methods."""

    def __index__(self) -> int:
        return 5


class Wide:
    """Like NumPy's longdouble: tolist returns the same object."""

    def tolist(self) -> Wide:
        return self

    def __float__(self) -> float:
        return 0.5


class Word(enum.StrEnum):
    A = "a"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: Any


ENCODED: list[tuple[Any, Any]] = [
    (Text("é"), "é"),
    (Whole(3), 3),
    (Real(0.1), 0.1),
    (Scalar(0.25), 0.25),
    (Scalar([1, [2.5]]), [1, [2.5]]),
    (Scalar(True), True),
    (Index(), 5),
    (Wide(), 0.5),
    (Fraction(1, 4), 0.25),
    (Word.A, "a"),
    (Level.HIGH, 3),
    (10**30, 10**30),
    (types.MappingProxyType({"a": Whole(1)}), {"a": 1}),
    (OrderedDict({Text("a"): Text("b"), Whole(4): 1, 1.5: 2}), {"a": "b", "4": 1, "1.5": 2}),
    ((1, Real(2.5)), [1, 2.5]),
    (deque([1]), [1]),
    (range(3), [0, 1, 2]),
    ({Text("a")}, ["a"]),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (b"a", "YQ=="),
    (Point(Real(1.5)), {"x": 1.5}),
    (None, None),
    ("null NaN Infinity", "null NaN Infinity"),
]

NO_NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    Real("nan"),
    Scalar(math.nan),
    Decimal("NaN"),
    Decimal("-Infinity"),
]


@pytest.mark.parametrize(("value", "expected"), ENCODED)
def test_a_value_of_another_library_is_encoded(value: Any, expected: Any) -> None:
    for holder in (value, [value], {"a": {"b": [value]}}):
        written = json.loads(encode_value(holder, "body"))
        assert written in (expected, [expected], {"a": {"b": [expected]}})


def test_a_decimal_is_a_number_with_all_its_digits() -> None:
    body = {"temperature": Decimal("0.10"), "big": [Decimal("1234567890.123456789012345678")]}
    assert encode_value(body, "body") == b'{"temperature":0.10,"big":[1234567890.123456789012345678]}'
    assert encode_value([Text("a"), Decimal("0.10")], "body") == b'["a",0.10]'


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_nan_and_infinity_are_rejected_with_their_place(number: Any) -> None:
    body = {"model": "m", "content": None, "messages": [{"a": 1}, {"logit_bias": {"50256": number}}]}
    with pytest.raises(RequestError, match=r"^body\.messages\[1\]\.logit_bias\.50256 is -?(nan|inf|NaN|Inf)"):
        encode_value(body, "body")
    with pytest.raises(RequestError, match=r"^body\.a(\.x)? is "):
        encode_value({"a": Point(number)}, "body")


class NotATime:
    def tolist(self) -> None:
        """Like NumPy's NaT."""


@pytest.mark.parametrize(
    "value",
    [object(), 1j, NotATime(), iter([1]), {None: 1}, {True: 1}, lambda: 1, Point(object())],
)
def test_an_unsupported_value_is_rejected_with_its_place(value: Any) -> None:
    with pytest.raises(RequestError, match=r"^body\.a\[0\](\.x)? "):
        encode_value({"a": [value]}, "body")
    cyclic: list[Any] = [Text("a")]
    cyclic.append(cyclic)
    with pytest.raises(RequestError, match="cannot be written as JSON"):
        encode_value(cyclic, "body")


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals()
wrapped = leaves.map(lambda leaf: Scalar(leaf) if leaf is not None else leaf)
values = st.recursive(
    leaves | wrapped, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(values)
def test_any_value_becomes_strict_json_or_is_rejected(value: Any) -> None:
    def none(name: str) -> None:
        raise AssertionError(name)

    try:
        written = encode_value(value, "body")
    except RequestError as error:
        rejected = str(error).lower()
    else:
        rejected = "nan"
        json.loads(written, parse_constant=none)
        assert written.count(b"null") <= str(value).count("null") + str(value).count("None")
    assert any(reason in rejected for reason in ("nan", "inf", "surrogate"))


def test_numpy_values_are_encoded() -> None:
    np = pytest.importorskip("numpy")
    body = {
        "max_tokens": np.int64(5),
        "temperature": np.float32(0.5),
        "seed": np.uint64(2**64 - 1),
        "stream": np.bool_(False),
        "user": np.str_("é"),
        "input": np.array([[1, 2]], dtype=np.int16),
        "top_p": np.longdouble(0.25),
        "logit_bias": {np.int64(7): np.float16(1.5)},
    }
    assert json.loads(encode_value(body, "body")) == {
        "max_tokens": 5,
        "temperature": 0.5,
        "seed": 2**64 - 1,
        "stream": False,
        "user": "é",
        "input": [[1, 2]],
        "top_p": 0.25,
        "logit_bias": {"7": 1.5},
    }
    for bad in (np.float32("nan"), np.array([1.0, np.inf]), np.datetime64("NaT"), np.complex64(1)):
        with pytest.raises(RequestError, match=r"body\.x"):
            encode_value({"x": bad}, "body")
    assert Timeout(np.int64(5)) == Timeout(5.0)


@pytest.mark.anyio
async def test_a_call_and_its_policies_have_only_pythons_types() -> None:
    endpoint = FakeEndpoint("ok", "ok")
    five: Any = Index()
    seven: Any = Scalar(7)
    async with endpoint.client(policies=[]) as client:
        await client.chat(Text("Hallo"), temperature=Real(0.5), max_tokens=seven, timeout=five)
        with pytest.raises(RequestError, match=r"body\.temperature is nan"):
            await client.chat("Hallo", temperature=math.nan)
        async with client.map([Text("Hallo"), {"messages": [], "top_p": math.inf}]) as outcomes:
            errors = {outcome.index: outcome.error async for outcome in outcomes}
    assert errors[0] is None
    assert isinstance(errors[1], RequestError)
    body = endpoint.attempts[0].body or {}
    assert (body["temperature"], body["max_tokens"]) == (0.5, 7)
    assert (type(body["temperature"]), type(body["messages"][0]["content"])) == (float, str)


def test_durations_and_settings_may_be_numbers_and_strings_of_other_libraries() -> None:
    five: Any = Index()
    half: Any = Wide()
    assert Timeout(five, connect=Decimal("2.5"), read=Fraction(1, 2)) == Timeout(5.0, connect=2.5, read=0.5)
    request = Request({}, timeout=five, deadline=half)
    assert (request.timeout, request.deadline) == (5.0, 0.5)
    client = Client(
        base_url=Text("http://localhost/v1"), model=Text("m"), max_in_flight=five, timeout=five, policies=[]
    )
    settings = client.settings
    assert (settings.base_url, settings.model, settings.max_in_flight) == ("http://localhost/v1", "m", 5)
    assert (settings.timeout, type(settings.model)) == (5.0, str)


@pytest.mark.parametrize(
    "bad", [True, Text("5"), Scalar(5), math.nan, -Fraction(1, 2), Decimal("sNaN"), [5], 1j]
)
def test_an_invalid_duration_is_rejected(bad: Any) -> None:
    with pytest.raises(SettingsError, match="number of seconds above 0"):
        Timeout(bad)
    with pytest.raises(RequestError, match="number of seconds above 0"):
        Request({}, deadline=bad)


def test_the_result_of_a_tool_is_encoded_like_a_body() -> None:
    def measure(place: str) -> float:
        """Measure."""
        return 1.5

    sent = {"id": "1", "function": {"name": "measure", "arguments": '{"place":"a"}'}}
    content = msgspec.json.encode({"choices": [{"message": {"tool_calls": [sent]}}]})
    [call] = Tools(measure).calls(Reply(200, Headers([]), content))
    assert call.result([Real(1.5), Decimal("0.10")])["content"] == "[1.5,0.10]"
    with pytest.raises(RequestError, match="measure's result is nan"):
        call.result(math.nan)
