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
    Ending,
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

    A circuit opens when at least ``failure_rate`` of the latest calls failed (default half), when at least
    ``slow_rate`` of them took longer than ``slow_after`` seconds (default: not looked at), after
    ``consecutive`` failures in a row (default: not looked at), or when ``down_after`` seconds (default 2)
    have brought failures alone, ``minimum_calls`` of them; None switches off each. The latest calls are those
    of the last ``window`` seconds (default 60) or, in its place, the last ``window_calls`` calls, once these
    are at least ``minimum_calls`` (default 20). A stream is slow where its first piece is.

    While it is open, calls fail at once with `CircuitOpen`. After ``open_for`` seconds (default 60) it lets
    ``probes`` calls through (default 3) and closes once all of them succeeded; one that fails opens it again,
    and so do slow ones as soon as they are ``slow_rate`` of the probes.

    Raises `SettingsError` for a value out of range, where no rule is on, for both windows or none, and for
    one of ``slow_after`` and ``slow_rate`` without the other.
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

    def wrap(self, send: Send) -> Send:
        """``send`` behind the circuit of the call's endpoint."""
        circuits: dict[Endpoint, Circuit] = {}
        timed = self.slow_after is not None

        async def protect(call: Call) -> Reply:
            circuit = circuits.get(call.endpoint)
            if circuit is None:
                circuit = circuits[call.endpoint] = self._circuit(call.endpoint)
            if circuit.state is not State.CLOSED:
                self._knock(circuit, call)
            generation = circuit.generation
            # Where nothing is slow nobody asks how long a call took.
            began = call.now() if timed else 0.0
            try:
                reply = await send(call)
            except BaseException as error:
                self._settle(circuit, call, generation, error, call.now() - began)
                raise
            if call.streamed:
                # How long the rest takes is as much the reader's doing.
                took = call.now() - began
                call.at_end(functools.partial(self._stream_ended, circuit, call, generation, took))
                return reply
            if generation == circuit.generation:
                now = call.now()
                circuit.succeed(generation, now, now - began)
                if generation != circuit.generation:
                    self._tell(circuit, call)
            return reply

        return protect

    def _circuit(self, endpoint: Endpoint) -> Circuit:
        """The circuit of an endpoint: of its URL, for what fails there fails for all that call it so."""
        self._urls[endpoint.name] = endpoint.base_url
        return self._circuits.setdefault(endpoint.base_url, Circuit(self._rules))

    def _stream_ended(
        self, circuit: Circuit, call: Call, generation: int, took: float, ending: Ending
    ) -> None:
        self._settle(circuit, call, generation, ending.error, took)

    def _knock(self, circuit: Circuit, call: Call) -> None:
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

    def _settle(
        self, circuit: Circuit, call: Call, generation: int, error: BaseException | None, took: float
    ) -> None:
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
