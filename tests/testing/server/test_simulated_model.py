"""Routes, keys, limits and faults of the simulated model, without I/O."""

import base64
import json
import math
import struct
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.testing.server import Behaviour, SimulatedModel
from headrace.testing.server.response_plan import ResponsePlan

CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).encode()


def chat(simulation: SimulatedModel, number: int = 0, now: float = 0.0) -> ResponsePlan:
    body = {"model": "m", "messages": [{"role": "user", "content": f"Hello {number}"}]}
    return simulation.answer("POST", "/v1/chat/completions", {}, json.dumps(body).encode(), now)


def create_embeddings(**body: Any) -> ResponsePlan:
    content = json.dumps({"model": "m", **body}).encode()
    return SimulatedModel(Behaviour()).answer("POST", "/v1/embeddings", {}, content, 0.0)


def error(plan: ResponsePlan) -> dict[str, Any]:
    found = json.loads(plan.content)["error"]
    assert set(found) == {"message", "type", "param", "code"}
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_paths_work_with_and_without_the_version(prefix: str) -> None:
    simulation = SimulatedModel(Behaviour())
    assert simulation.answer("POST", f"{prefix}/chat/completions", {}, CHAT, 0.0).status == 200
    models = json.loads(simulation.answer("GET", f"{prefix}/models", {}, b"", 0.0).content)
    assert models["object"] == "list"
    name = models["data"][0]["id"]
    assert json.loads(simulation.answer("GET", f"{prefix}/models/{name}", {}, b"", 0.0).content)["id"] == name


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/v1/completion", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/chat/completions", 405),
        ("PUT", "/v1/embeddings", 405),
        ("GET", "/v1/responses", 405),
        ("GET", "/v1/completions", 405),
        ("POST", "/v1/models", 405),
        ("DELETE", "/v1/models/m", 405),
    ],
)
def test_unknown_paths_and_methods_are_rejected(method: str, path: str, status: int) -> None:
    plan = SimulatedModel(Behaviour()).answer(method, path, {}, CHAT, 0.0)
    assert plan.status == status
    assert error(plan)["type"] == "invalid_request_error"
    assert ("allow" in plan.headers) == (status == 405)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sk-guess"}, {"authorization": "sk-right"}])
def test_missing_or_wrong_key_is_rejected_and_not_repeated(headers: dict[str, str]) -> None:
    simulation = SimulatedModel(Behaviour(api_key="sk-right"))
    plan = simulation.answer("POST", "/v1/chat/completions", headers, CHAT, 0.0)
    assert plan.status == 401
    assert error(plan)["code"] == "invalid_api_key"
    assert b"sk-" not in plan.content


def test_correct_key_is_accepted() -> None:
    simulation = SimulatedModel(Behaviour(api_key="sk-right"))
    headers = {"authorization": "Bearer sk-right"}
    assert simulation.answer("POST", "/v1/chat/completions", headers, CHAT, 0.0).status == 200


def test_every_reply_has_a_request_id() -> None:
    simulation = SimulatedModel(Behaviour(errors=0.5))
    plans = [chat(simulation, number) for number in range(20)]
    plans.append(simulation.answer("GET", "/models", {}, b"", 0.0))
    plans += [simulation.answer("GET", "/nowhere", {}, b"", 0.0) for _ in range(2)]
    assert len({plan.headers["x-request-id"] for plan in plans}) == len(plans)


def test_request_over_the_rate_limit_gets_429_with_retry_after() -> None:
    simulation = SimulatedModel(Behaviour(rate_limit=2, latency=5.0))
    first = chat(simulation)
    assert (first.status, first.headers["x-ratelimit-remaining-requests"]) == (200, "1")
    assert chat(simulation).status == 200
    refused = chat(simulation)
    assert (refused.status, refused.delay, refused.fault) == (429, 0.0, None)
    assert error(refused)["code"] == "rate_limit_exceeded"
    assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("1", "500")
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert chat(simulation, now=0.5).status == 200


def test_invalid_body_counts_against_the_rate_limit() -> None:
    simulation = SimulatedModel(Behaviour(rate_limit=1))
    wrong = simulation.answer("POST", "/v1/chat/completions", {}, b"{", 0.0)
    assert (wrong.status, wrong.headers["x-ratelimit-remaining-requests"]) == (400, "0")
    assert chat(simulation).status == 429


def test_attempts_over_the_rate_limit_do_not_change_the_faults() -> None:
    free, limited = SimulatedModel(Behaviour(errors=0.5)), SimulatedModel(Behaviour(errors=0.5, rate_limit=1))
    undisturbed = [chat(free).fault for _ in range(10)]
    disturbed = []
    for second in range(10):
        disturbed.append(chat(limited, now=float(second)).fault)
        assert "retry-after" in chat(limited, now=float(second)).headers
    assert disturbed == undisturbed


@given(st.integers(), st.permutations(range(12)))
def test_nth_attempt_has_the_same_result_in_any_order(seed: int, order: list[int]) -> None:
    behaviour = Behaviour(errors=0.5, latency=1.0, jitter=0.5, seed=seed)

    def results(simulation: SimulatedModel, numbers: list[int]) -> dict[tuple[int, int], ResponsePlan]:
        met: Counter[int] = Counter()
        plans = {}
        for number in numbers:
            met[number] += 1
            plans[number, met[number]] = chat(simulation, number)
        return plans

    straight = results(SimulatedModel(behaviour), [number // 3 for number in range(12)])
    mixed = results(SimulatedModel(behaviour), [number // 3 for number in order])
    assert straight == mixed


def test_faults_have_the_configured_share_and_kinds() -> None:
    behaviour = Behaviour(errors=0.2, faults=("503", "stall"), stall=3.0)
    simulation = SimulatedModel(behaviour)
    plans = [chat(simulation, number) for number in range(5000)]
    kinds = Counter(plan.fault for plan in plans)
    assert set(kinds) == {None, "503", "stall"}
    assert kinds["503"] + kinds["stall"] == pytest.approx(1000, abs=150)
    assert kinds["503"] == pytest.approx(500, abs=110)
    assert {plan.silence for plan in plans if plan.fault == "stall"} == {3.0}


@pytest.mark.parametrize(("kind", "status"), [("500", 500), ("503", 503), ("429", 429)])
def test_status_fault_is_an_error_with_that_status(kind: str, status: int) -> None:
    plan = chat(SimulatedModel(Behaviour(errors=1.0, faults=[kind], latency=0.5)))
    assert (plan.status, plan.fault, plan.delay) == (status, kind, 0.5)
    assert error(plan)["message"]
    assert plan.headers.get("retry-after-ms") == ("100" if kind == "429" else None)


def test_jitter_is_around_the_latency_and_never_negative() -> None:
    simulation = SimulatedModel(Behaviour(latency=1.0, jitter=2.0))
    delays = [chat(simulation, number).delay for number in range(500)]
    assert min(delays) == 0.0
    assert 2.5 < max(delays) < 3.0
    assert len(set(delays)) > 300


@pytest.mark.parametrize(("dimensions", "expected"), [(None, 256), (1, 1), (1024, 1024)])
def test_embeddings_are_unit_vectors_of_the_requested_length(dimensions: int | None, expected: int) -> None:
    reply = json.loads(create_embeddings(input=["one", "two"], dimensions=dimensions).content)
    assert [item["index"] for item in reply["data"]] == [0, 1]
    for item in reply["data"]:
        assert len(item["embedding"]) == expected
        assert math.hypot(*item["embedding"]) == pytest.approx(1.0)
    assert reply["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


def test_both_encodings_have_the_same_numbers() -> None:
    [plain] = json.loads(create_embeddings(input="water").content)["data"]
    [packed] = json.loads(create_embeddings(input="water", encoding_format="base64").content)["data"]
    numbers = struct.unpack("<256f", base64.b64decode(packed["embedding"]))
    assert list(numbers) == plain["embedding"]


def test_embedding_depends_only_on_the_text() -> None:
    together = json.loads(create_embeddings(input=["a", "b", "a"]).content)["data"]
    alone = json.loads(create_embeddings(input="a").content)["data"]
    assert together[0]["embedding"] == together[2]["embedding"] == alone[0]["embedding"]
    assert together[0]["embedding"] != together[1]["embedding"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
    ],
)
def test_invalid_embeddings_body_is_rejected(body: dict[str, Any], param: str) -> None:
    plan = create_embeddings(**body)
    assert plan.status == 400
    assert error(plan)["param"] == param


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", ""], "'$.input' is invalid: a text is empty."),
        (["a ", "b " * 8193], "maximum context length is 8192 tokens, however you requested 8193 tokens"),
        (["b " * 8000] * 38, "Requested 304000 tokens, max 300000 tokens per request"),
    ],
)
def test_texts_over_the_limits_of_embeddings_are_rejected(texts: list[str], message: str) -> None:
    plan = create_embeddings(input=texts)
    assert plan.status == 400
    assert message in error(plan)["message"]


def test_texts_at_the_limits_of_embeddings_are_embedded() -> None:
    assert create_embeddings(input=["b " * 8192, *["b " * 8000] * 36]).status == 200
