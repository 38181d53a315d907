"""Searches and filters of the index, compared with the same over the lines themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_view.index import QueryError, RowQuery, count_rows, find_rows, open_for_reading
from headrace_view.index import rows as index_rows
from view_lines import index_whole, make_line, write_output

ANSWERS = [
    "Garten",
    "Sport",
    "eine lange Antwort über den Müllereimer von Nachbar Ünal",
    "庭の水やりホース",
    "",
]
CODES = [None, None, "timeout", "rate_limited"]


def _lines() -> list[dict[str, Any]]:
    return [
        make_line(
            n,
            f"P-{n}",
            ANSWERS[n % 5],
            code=CODES[n % 4],
            status=[200, 200, None, 429][n % 4],
            message=f"no luck {n}",
            reason="length" if n % 7 == 0 else "stop",
            elapsed=n / 10,
            cost=f"{n / 1000}" if n % 3 else None,
        )
        for n in range(130)
    ]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The index of 130 lines."""
    builder, place = index_whole(write_output(tmp_path_factory.mktemp("view") / "out.jsonl", _lines()))
    yield place.database
    builder.close()
    place.close()


def ids(database: Path, **query: Any) -> list[str]:
    with open_for_reading(database) as connection:
        return [row.id for row in find_rows(connection, RowQuery(**query))]


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "outcome": st.sampled_from(["succeeded", "failed"]),
        "status": st.sampled_from(["200", "429", "none", "500"]),
        "code": st.sampled_from(["timeout", "rate_limited 429", "nothing"]),
        "reason": st.sampled_from(["stop", "length"]),
        "answer": st.sampled_from(["Garten", "Sport", "other"]),
        "latency": st.tuples(st.sampled_from([None, 1.0, 5.0]), st.sampled_from([None, 9.0])),
        "cost": st.tuples(st.sampled_from([None, 0.02]), st.sampled_from([None, 0.1])),
        "search": st.sampled_from(["garten", "GART", "no luck", "P-1", "mullereimer", "水", "!"]),
        "order": st.sampled_from(["line", "latency", "cost"]),
        "descending": st.booleans(),
        "page": st.integers(0, 1),
    },
)


def expected(query: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines that a query should find, by what it means."""
    searches = {
        "garten": "garten", "GART": "gart", "no luck": "no luck", "P-1": "p-1",
        "mullereimer": "müllereimer", "水": "水", "!": "\0",
    }  # fmt: skip

    def fits(line: dict[str, Any]) -> bool:
        error, notes = line["error"], line["headrace"]
        status = None if line["response"] is None else line["response"]["status_code"]
        body: Any = {} if line["response"] is None else line["response"]["body"]["choices"][0]
        text = body["message"]["content"] if status == 200 else ""
        low, high = query.get("latency", (None, None))
        least, most = query.get("cost", (None, None))
        cost = None if notes["cost"] is None else float(notes["cost"])
        code = "" if error is None else " ".join(str(x) for x in (error["code"], status) if x)
        word = searches.get(query.get("search", ""), "")
        found = f"{line['custom_id']}\n{text}\n{'' if error is None else error['message']}".lower()
        return (
            query.get("outcome", "") in ("", "succeeded" if error is None else "failed")
            and query.get("status", "") in ("", "none" if status is None else str(status))
            and query.get("code", "") in ("", code)
            and query.get("reason", "") in ("", body["finish_reason"] if status == 200 else None)
            and query.get("answer", "") in ("", text if error is None else None)
            and (low is None or notes["elapsed"] >= low)
            and (high is None or notes["elapsed"] <= high)
            and (least is None or (cost is not None and cost >= least))
            and (most is None or (cost is not None and cost <= most))
            and word in found
        )

    return [line for line in _lines() if fits(line)]


@settings(deadline=None)
@given(FILTERS, st.sampled_from([8, 240]))
def test_a_query_finds_what_it_means(database: Path, query: dict[str, Any], tried: int) -> None:
    lines = expected(query)
    if query.get("order", "line") != "line":
        name = {"latency": "elapsed", "cost": "cost"}[query["order"]]
        lines.sort(key=lambda line: float(line["headrace"][name] or -1))
    if query.get("descending"):
        lines.reverse()
    begin = 50 * query.get("page", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_rows, "_TRIED", tried)
        found = ids(database, **query)
    assert found == [line["custom_id"] for line in lines[begin : begin + 50]]
    with open_for_reading(database) as connection:
        assert count_rows(connection, RowQuery(**query)) == (len(lines), True)


def test_words_in_quotes_follow_each_other(database: Path) -> None:
    assert ids(database, search='"luck 14"') == ["P-14"]
    assert ids(database, search='"14 luck"') == []
    assert ids(database, search="14 luck") == ["P-14"]


@settings(deadline=None)
@given(st.text(min_size=1, max_size=30))
def test_any_search_is_text_and_no_query_language(database: Path, text: str) -> None:
    with open_for_reading(database) as connection:
        query = RowQuery(search=text, answer=text, code=text)
        assert find_rows(connection, query) == []
        find_rows(connection, RowQuery(search=text))
        count_rows(connection, RowQuery(search=text, names_only=True))


@pytest.mark.parametrize(
    "search", ['"', "NOT garten", "garten OR", "name:garten", "garten)", "*", "^garten", "{answer}"]
)
def test_operators_of_the_search_are_words(database: Path, search: str) -> None:
    assert ids(database, search=search) == ids(database, search="garten") * (search in ("garten)", "^garten"))


def test_a_search_without_content_finds_ids_only(database: Path) -> None:
    assert ids(database, search="garten", names_only=True) == []
    assert ids(database, search="P-12", names_only=True)[0] == "P-12"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"order": "id; DROP TABLE rows"}, "order: must be one of line, latency, cost"),
        ({"outcome": "x"}, "outcome: must be succeeded or failed"),
        ({"status": "2xx"}, "status: must be a number"),
        ({"page": "-1"}, "page: must be a number from 0"),
        ({"latency-from": "nan"}, "latency-from: must be a number from 0"),
        ({"cost-to": "-1"}, "cost-to: must be a number from 0"),
        ({"cost-to": "much"}, "cost-to: must be a number from 0"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(QueryError) as caught:
        RowQuery.of_parameters(given)
    assert str(caught.value) == message
