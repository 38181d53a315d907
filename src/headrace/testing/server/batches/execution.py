"""Executes the requests of batches, and writes their lines in the output and error files."""

import json
from typing import Any

import attrs
import msgspec

from headrace.testing.server.attempt_draws import STATUS_FAULTS
from headrace.testing.server.batches.counts import BatchCounts, RequestCounts
from headrace.testing.server.behaviour import Behaviour
from headrace.testing.server.model_requests import answer_request, parse_request
from headrace.testing.server.quirks import find_quirks
from headrace.testing.server.response_plan import RejectedRequest, ResponsePlan
from headrace.testing.server.seeded_random import fingerprint, fraction

_FAILURES = ("500", "503", "429", "request_timeout")
_MESSAGES = {
    "batch_cancelled": "This request was not executed, because the batch was cancelled.",
    "batch_expired": "This request could not be executed before the completion window expired.",
    "request_timeout": "The call to the model timed out.",
}


class _RequestLine(msgspec.Struct):
    custom_id: str
    url: str
    body: msgspec.Raw


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    input_tokens: int = 0
    completion_tokens: int = 0
    output_tokens: int = 0


class _Answer(msgspec.Struct):
    usage: _Usage


_decode_line = msgspec.json.Decoder(_RequestLine).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


@attrs.frozen
class Result:
    """The result of one request.

    Args:
        line: Its line, with the line's end.
        failed: Whether the line belongs to the error file.
        input_tokens: Tokens of the request, if it got an answer.
        output_tokens: Tokens of the answer.
    """

    line: bytes
    failed: bool
    input_tokens: int = 0
    output_tokens: int = 0


class BatchExecutor:
    """Executes single requests.

    Failures depend on the seed, the number of the batch and the ``custom_id``, so a request that failed can
    succeed in a later batch.

    Args:
        behaviour: The seed, the quirks, and the shares of failing and of expiring requests.
        counts: Counts the requests.
        requests: Counts the requests by ``custom_id``.
    """

    def __init__(self, behaviour: Behaviour, counts: BatchCounts, requests: dict[str, RequestCounts]) -> None:
        self._behaviour = behaviour
        self._counts = counts
        self._requests = requests
        self._quirks = find_quirks(behaviour.quirks)

    def expires(self, line: bytes, number: int) -> bool:
        """Whether the request in this line is not executed in time, in the batch with this number."""
        if not self._behaviour.batch_expire:
            return False
        return fraction(self._draw(_decode_line(line), number)[16:]) < self._behaviour.batch_expire

    def execute(self, line: bytes, number: int) -> Result:
        """Execute the request in this line, in the batch with this number."""
        request = _decode_line(line)
        draw = self._draw(request, number)
        counts = self._requests.setdefault(request.custom_id, RequestCounts())
        counts.executed += 1
        self._counts.executed += 1
        if fraction(draw) < self._behaviour.batch_failures:
            failure = _FAILURES[int(fraction(draw[8:]) * len(_FAILURES))]
            if failure not in STATUS_FAULTS:
                return self.skip(line, number, failure)
            plan = STATUS_FAULTS[failure].plan({})
        else:
            plan = self._answer(request)
        result = _result(request.custom_id, draw, plan)
        if not result.failed:
            counts.billed += 1
            self._counts.billed += 1
            self._counts.input_tokens += result.input_tokens
            self._counts.output_tokens += result.output_tokens
        return result

    def skip(self, line: bytes, number: int, code: str) -> Result:
        """The result of a request that got no response, for the reason with this code."""
        request = _decode_line(line)
        error = {"code": code, "message": _MESSAGES[code]}
        return _written(request.custom_id, self._draw(request, number), None, error)

    def _draw(self, request: _RequestLine, number: int) -> bytes:
        return fingerprint(
            self._behaviour.seed, b"batch", number.to_bytes(8, "big"), request.custom_id.encode()
        )

    def _answer(self, line: _RequestLine) -> ResponsePlan:
        seed = self._behaviour.seed
        try:
            request = parse_request(line.url.removeprefix("/v1"), bytes(line.body), seed=seed)
            if getattr(request.body, "stream", False):
                raise RejectedRequest(400, "Requests in a batch are not streamed.", param="stream")
        except RejectedRequest as refusal:
            return refusal.plan({})
        return answer_request(request, ResponsePlan(), seed=seed, quirks=self._quirks)


def _result(custom_id: str, draw: bytes, plan: ResponsePlan) -> Result:
    response = {"status_code": plan.status, "request_id": draw[16:].hex(), "body": _json_of(plan.content)}
    result = _written(custom_id, draw, response, None)
    if plan.status != 200:
        return result
    try:
        usage = _decode_answer(plan.content).usage
    except msgspec.DecodeError:
        usage = _Usage()  # A quirk can leave it out.
    return attrs.evolve(
        result,
        failed=False,
        input_tokens=usage.prompt_tokens + usage.input_tokens,
        output_tokens=usage.completion_tokens + usage.output_tokens,
    )


def _written(
    custom_id: str, draw: bytes, response: dict[str, Any] | None, error: dict[str, Any] | None
) -> Result:
    line = {
        "id": f"batch_req_{draw[:16].hex()}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return Result(msgspec.json.encode(line) + b"\n", failed=True)


def _json_of(content: bytes) -> msgspec.Raw | str:
    """A body as a JSON value; with some quirks it is not JSON, and so a string."""
    text = content.decode(errors="replace")
    try:
        # Not msgspec: it refuses a lone surrogate, which is JSON and comes from real endpoints.
        json.loads(text)
    except ValueError:
        return text
    return msgspec.Raw(content)
