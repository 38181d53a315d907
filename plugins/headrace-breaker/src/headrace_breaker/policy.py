"""The breaker policy: the async shell around `headrace_breaker.circuit`."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import attrs

from headrace import (
    AnswerError,
    Call,
    CallTimeout,
    CircuitOpen,
    ConnectError,
    DeadlineExceeded,
    Endpoint,
    InvalidReply,
    ProtocolError,
    Reply,
    ReplyTooLarge,
    Send,
    ServerError,
    SettingsError,
    Stage,
    StatusError,
    StreamResult,
)
from headrace_breaker.circuit import Circuit, Rules, State

_FAULTS = (ServerError, ConnectError, CallTimeout, ProtocolError)
_SLOW = "its answers are slow"
_LONGEST_REASON = 300
"""Characters of the last failure's message that a circuit repeats."""

_ANSWERS = (StatusError, InvalidReply, ReplyTooLarge, AnswerError)


def endpoint_failed(error: BaseException) -> bool | None:
    """Whether ``error`` is the endpoint's fault; None where it tells nothing about the endpoint.

    Its fault: 5xx, 408, no connection, a broken or incomplete answer, a timeout. Not its fault: any other
    answer, 4xx above all, for an endpoint that refuses a request is up. Nothing is told by the caller's
    own deadline, by a cancellation, or by what an inner policy raised.
    """
    if isinstance(error, DeadlineExceeded):
        return None
    if isinstance(error, _FAULTS):
        return True
    if isinstance(error, _ANSWERS):
        return isinstance(error, StatusError) and error.status == 408
    return None


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"breaker: {attribute.name}={value!r}: must be above 0")


def _rate(instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value <= 1:
        raise SettingsError(f"breaker: {attribute.name}={value!r}: must be above 0 and at most 1")


def _window_in_place_of_calls(breaker: Breaker) -> float | None:
    return 60.0 if breaker.window_calls is None else None


@attrs.define(eq=False, kw_only=True)
class Breaker:
    """Spares an endpoint that fails, and its callers the wait: one circuit for each base URL.

    A circuit opens by any of four rules, each of which None switches off. While it is open, calls fail at
    once with `CircuitOpen`. An attempt that has its token is decided on, and again when it has waited for its
    turn. The time it waits does not make it slow; a stream is slow where its first piece is.

    Args:
        failure_rate: Opens when at least this share of the latest calls failed (default 0.5).
        slow_rate: Opens when at least this share of them took longer than ``slow_after`` (default None).
        slow_after: Seconds (default None).
        consecutive: Opens after so many failures in a row (default None).
        down_after: Opens when so many seconds have brought failures alone, ``minimum_calls`` of them
            (default 2).
        window: The latest calls are those of so many seconds (default 60), or
        window_calls: the last so many calls, in place of ``window`` (default None).
        minimum_calls: A rate is looked at once there are so many (default 20).
        open_for: Seconds until the first probe (default 60).
        probes: Calls that are let through then (default 3). The circuit closes when all have succeeded; one
            that fails opens it again, and so do slow ones as soon as they are ``slow_rate`` of the probes.

    Raises:
        SettingsError: A value is out of range, no rule is on, both windows or none are set, or one of
            ``slow_after`` and ``slow_rate`` is set without the other.
    """

    name = "breaker"
    stage = Stage.PROTECT

    failure_rate: float | None = attrs.field(default=0.5, validator=_rate)
    slow_after: float | None = attrs.field(default=None, validator=_positive)
    slow_rate: float | None = attrs.field(default=None, validator=_rate)
    window_calls: int | None = attrs.field(default=None, validator=_positive)
    window: float | None = attrs.field(
        default=attrs.Factory(_window_in_place_of_calls, takes_self=True), validator=_positive
    )
    minimum_calls: int = attrs.field(default=20, validator=_positive)
    consecutive: int | None = attrs.field(default=None, validator=_positive)
    down_after: float | None = attrs.field(default=2.0, validator=_positive)
    open_for: float = attrs.field(default=60.0, validator=_positive)
    probes: int = attrs.field(default=3, validator=_positive)
    _rules: Rules = attrs.field(init=False, repr=False)
    _circuits: dict[str, Circuit] = attrs.field(factory=dict, init=False, repr=False)
    _urls: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)
    _because: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if all(
            rule is None for rule in (self.failure_rate, self.slow_rate, self.consecutive, self.down_after)
        ):
            raise SettingsError(
                "breaker: set failure_rate, slow_rate, consecutive or down_after, or leave the breaker out"
            )
        if (self.window is None) == (self.window_calls is None):
            raise SettingsError("breaker: set window (seconds) or window_calls (calls), and not both")
        if (self.slow_after is None) != (self.slow_rate is None):
            raise SettingsError(
                "breaker: set both of slow_after (seconds) and slow_rate (a share), or neither"
            )
        self._rules = Rules(
            failure_rate=self.failure_rate,
            slow_after=self.slow_after,
            slow_rate=self.slow_rate,
            window=self.window,
            window_calls=self.window_calls,
            minimum_calls=self.minimum_calls,
            consecutive=self.consecutive,
            down_after=self.down_after,
            open_for=self.open_for,
            probes=self.probes,
        )

    @classmethod
    def classic(cls) -> Breaker:
        """Opens after 5 failures in a row, for 60 s, and closes after one probe that succeeds."""
        return cls(failure_rate=None, down_after=None, consecutive=5, open_for=60.0, probes=1)

    def state(self, endpoint: str) -> Literal["closed", "open", "half_open"]:
        """The state of the circuit of an endpoint, by its name or its base URL.

        "open" lasts until a first probe is let through; what no call has gone to yet is "closed".
        """
        circuit = self._circuits.get(self._urls.get(endpoint, endpoint.rstrip("/")))
        state: Literal["closed", "open", "half_open"] = circuit.state.value if circuit else "closed"
        return state

    def reset(self) -> None:
        """Forget all circuits: the event loop by whose clock they opened has ended."""
        self._circuits.clear()
        self._because.clear()

    def wrap(self, send: Send) -> Send:
        """``send`` behind the circuit of the call's endpoint."""
        circuits: dict[Endpoint, Circuit] = {}
        timed = self.slow_after is not None
        name, on_resume = self.name, (self._decide_anew,)

        async def protect(call: Call) -> Reply:
            circuit = circuits.get(call.endpoint)
            if circuit is None:
                circuit = circuits[call.endpoint] = self._circuit(call.endpoint)
            if circuit.state is not State.CLOSED:
                self._admit(circuit, call)
            call.notes[name] = circuit.generation
            others = call.on_resume
            call.on_resume = (*others, *on_resume) if others else on_resume
            # Where nothing is slow nobody asks how long a call took.
            began = call.now() if timed else 0.0
            try:
                reply = await send(call)
            except BaseException as error:
                self._settle(circuit, call, error, _seconds_since(began, call))
                raise
            finally:
                call.on_resume = others
            if call.streamed:
                # How long the rest takes is as much the reader's doing.
                took = _seconds_since(began, call)
                call.add_done_callback(functools.partial(self._stream_ended, circuit, call, took))
                return reply
            generation = call.notes[name]
            if generation == circuit.generation:
                circuit.succeed(generation, call.now(), _seconds_since(began, call) if timed else 0.0)
                if generation != circuit.generation:
                    self._tell(circuit, call)
            return reply

        return protect

    def _circuit(self, endpoint: Endpoint) -> Circuit:
        """The circuit of an endpoint: of its URL, for what fails there fails for all that call it so."""
        self._urls[endpoint.name] = endpoint.base_url
        return self._circuits.setdefault(endpoint.base_url, Circuit(self._rules))

    def _stream_ended(self, circuit: Circuit, call: Call, took: float, result: StreamResult) -> None:
        self._settle(circuit, call, result.error, took)

    def _decide_anew(self, call: Call) -> None:
        """Refuse an attempt that has waited further in if the circuit has opened meanwhile."""
        circuit = self._circuits[call.endpoint.base_url]
        if call.notes[self.name] != circuit.generation:
            if circuit.state is not State.CLOSED:
                self._admit(circuit, call)
            call.notes[self.name] = circuit.generation

    def _admit(self, circuit: Circuit, call: Call) -> None:
        """Let a call through as a probe, or raise `CircuitOpen`."""
        now = call.now()
        generation = circuit.generation
        admitted = circuit.admit(now)
        if generation != circuit.generation:
            self._tell(circuit, call)
        if admitted:
            return
        due = circuit.due(now)
        url = call.endpoint.base_url
        said = f" ({because})" if (because := self._because.get(url)) else ""
        if due > 0:
            why = f"is open{said}; the next probe is due in {due:.1f} s"
        else:
            why = f"is half open{said}, and its probes are under way"
        raise CircuitOpen(f"not sent: the circuit of {url} {why}", due)

    def _settle(self, circuit: Circuit, call: Call, error: BaseException | None, took: float) -> None:
        generation = call.notes[self.name]
        failed = False if error is None else endpoint_failed(error)
        if failed is None:
            circuit.abandon(generation)
            return
        before = circuit.generation
        now = call.now()
        if failed:
            circuit.fail(generation, now, took)
        else:
            circuit.succeed(generation, now, took)
        if before != circuit.generation:
            self._tell(circuit, call, str(error)[:_LONGEST_REASON] if failed else _SLOW)

    def _tell(self, circuit: Circuit, call: Call, because: str = _SLOW) -> None:
        url, more = call.endpoint.base_url, dict[str, Any]()
        if circuit.state is State.OPEN:
            self._because[url] = because
            more = {"open_for": self.open_for, "because": because}
        call.notify("circuit", endpoint=url, state=circuit.state.value, **more)


def _seconds_since(began: float, call: Call) -> float:
    """For how long an attempt was on the wire: without what it has waited further in."""
    return call.now() - max(began, call.resumed)
