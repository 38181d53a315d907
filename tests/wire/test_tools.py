"""Tools: functions are described to a model, and its calls are parsed."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import AnswerError, Headers, InvalidReply, Reply, RequestError, Tools
from headrace.testing import Answer, FakeEndpoint


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


@attrs.define
class Place:
    city: str
    country: str = "DE"


def weather(
    place: Place, days: Annotated[int, msgspec.Meta(ge=1, description="how many")], unit: Unit
) -> str:
    """The weather of a place,
    day by day.

    What follows is for people.
    """
    return f"{place.city}: {days} days in {unit.value}"


async def search(text: str, limit: int = 10, near: Place | None = None) -> list[str]:
    return [text] * limit


def now() -> str:
    return "noon"


def replying(*calls: tuple[str, str]) -> dict[str, Any]:
    """Return the body of a reply that calls tools."""
    called = [
        {"id": f"call-{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": called}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


def reply_of(*calls: tuple[str, str]) -> Reply:
    return Reply(200, Headers([]), msgspec.json.encode(replying(*calls)))


def test_functions_are_described_by_their_types_and_docstrings() -> None:
    first, second, third = Tools(weather, search, now)
    assert first["type"] == "function"
    described = first["function"]
    assert (described["name"], described["strict"]) == ("weather", True)
    assert described["description"] == "The weather of a place, day by day."
    schema = described["parameters"]
    assert schema["required"] == ["place", "days", "unit"]
    assert schema["properties"]["days"] == {"type": "integer", "minimum": 1, "description": "how many"}
    assert schema["$defs"]["Unit"]["enum"] == ["C", "F"]
    assert schema["$defs"]["Place"]["additionalProperties"] is False

    # A parameter with a default is optional, which strict mode does not support.
    loose = second["function"]
    assert ("strict" in loose, "description" in loose) == (False, False)
    assert loose["parameters"]["required"] == ["text"]
    assert loose["parameters"]["properties"]["limit"]["default"] == 10
    assert third["function"]["parameters"]["properties"] == {}


@pytest.mark.anyio
async def test_a_conversation_with_tools() -> None:
    arguments = '{"place": {"city": "Kiel"}, "days": 2, "unit": "C"}'
    endpoint = FakeEndpoint(
        Answer(body=replying(("weather", arguments), ("search", '{"text": "a", "limit": 2}'), ("now", ""))),
        "It rains.",
    )
    tools = Tools(weather, search, now)
    messages: list[Any] = [{"role": "user", "content": "Weather?"}]
    async with endpoint.client() as client:
        reply = await client.chat(messages, tools=tools)
        first, found, at = tools.calls(reply)
        assert first.arguments == {"place": Place("Kiel"), "days": 2, "unit": Unit.CELSIUS}
        assert found.arguments == {"text": "a", "limit": 2, "near": None}
        messages += [reply.message, first.result(first()), found.result(await found()), at.result(at())]
        assert (await client.chat(messages, tools=tools)).text == "It rains."
    body = endpoint.attempts[1].body
    assert body is not None
    assert body["messages"][2:] == [
        {"role": "tool", "tool_call_id": "call-0", "content": "Kiel: 2 days in C"},
        {"role": "tool", "tool_call_id": "call-1", "content": '["a","a"]'},
        {"role": "tool", "tool_call_id": "call-2", "content": "noon"},
    ]
    assert msgspec.json.decode(msgspec.json.encode(body["tools"])) == list(tools)


def test_a_reply_without_calls_has_none() -> None:
    assert Tools(now).calls(Reply(200, Headers([]), b'{"choices": [{"message": {"content": "x"}}]}')) == []
    with pytest.raises(InvalidReply, match="no message"):
        _ = Reply(200, Headers([]), b'{"object": "list"}').message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("wether", "{}"), "called a tool 'wether'; did you mean 'weather'"),
        (("weather", '{"days": 2}'), "called weather with .* missing required field `place`"),
        (("search", '{"text": 5}'), r"Expected `str`, got `int` - at `\$\.text`"),
        (("search", '{"text": "a", "lmit": 5}'), "unknown field `lmit`"),
        (("search", '{"text": '), "truncated"),
        (("search", None), "missing required field"),
        (("search", {"text": 5}), r"Expected `str`, got `int` - at `\$\.text`"),
        ((None, "{}"), "sent an invalid tool call"),
    ],
)
def test_an_invalid_call_is_an_error_with_the_reply(call: Any, message: str) -> None:
    reply = reply_of(("now", "{}"), call)
    with pytest.raises(AnswerError, match=message) as caught:
        Tools(weather, search, now).calls(reply)
    assert caught.value.partial is reply
    assert "\n" not in str(caught.value)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["id", "function", "name", "arguments"]), inner)
        ),
    )
)
def test_any_value_of_a_call_gives_calls_or_an_answer_error(rubbish: Any) -> None:
    body = {"choices": [{"message": {"tool_calls": [rubbish]}}]}
    try:
        calls = Tools(now).calls(Reply(200, Headers([]), msgspec.json.encode(body)))
    except AnswerError:
        return
    assert [call.name for call in calls] == ["now"]


def untyped(city) -> str:  # type: ignore[no-untyped-def]
    return str(city)


def many(*cities: str) -> None: ...


def options(**options: str) -> None: ...


def by_place(city: str, /) -> None: ...


def of_what_json_has_not(what: complex) -> None: ...


def of_nothing_known(what: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ([untyped], "parameter 'city' has no type"),
        ([many], r"\*cities: str cannot be given by name|\*cities"),
        ([options], r"\*\*options"),
        ([by_place], "city"),
        ([of_what_json_has_not], "of_what_json_has_not"),
        ([of_nothing_known], "Missing"),
        ([lambda: None], "<lambda>"),
        ([now, now], "two tools are called 'now'"),
    ],
)
def test_an_unsupported_function_is_an_error_at_once(functions: list[Any], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        Tools(*functions)
    assert "\n" not in str(caught.value)
