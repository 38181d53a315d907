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
from headrace_breaker.circuit import Circuit, CircuitConfig, CircuitState

_FAILURES = (ServerError, ConnectError, CallTimeout, ProtocolError)
_SLOW = "its replies are slow"
_REASON_LIMIT = 300
"""Maximum number of characters of the last failure's message that `CircuitOpen` quotes."""

_NOT_FAILURES = (StatusError, InvalidReply, ReplyTooLarge, AnswerError)


def is_endpoint_failure(error: BaseException) -> bool | None:
    """Whether ``error`` is a failure of the endpoint; None if it shows nothing about the endpoint.

    Failures are 5xx, 408, connection errors, broken or incomplete replies, and timeouts. Any other reply,
    such as a 4xx, shows that the endpoint is up. The caller's own deadline, a cancellation and errors of an
    inner policy show nothing.
    """
    if isinstance(error, DeadlineExceeded):
        return None
    if isinstance(error, _FAILURES):
        return True
    if isinstance(error, _NOT_FAILURES):
        return isinstance(error, StatusError) and error.status == 408
    return None


def _validate_positive(instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise SettingsError(f"breaker: {attribute.name}={value!r}: must be above 0")


def _validate_rate(instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value <= 1:
        raise SettingsError(f"breaker: {attribute.name}={value!r}: must be above 0 and at most 1")


def _default_window(breaker: Breaker) -> float | None:
    return 60.0 if breaker.window_calls is None else None


@attrs.define(eq=False, kw_only=True)
class Breaker:
    """Stops calls to an endpoint that fails, so that they fail fast: one circuit per base URL.

    Any of four conditions opens a circuit; None switches a condition off. While a circuit is open, calls fail
    at once with `CircuitOpen`. An attempt is checked when it has its token, and again after each wait. Time
    spent waiting does not make an attempt slow. A stream is slow if its first chunk is.

    Args:
        failure_rate: Opens if at least this share of the latest calls failed, above 0 up to 1 (default 0.5).
        slow_rate: Opens if at least this share of them took longer than ``slow_after`` (default None).
        slow_after: Seconds; needed with ``slow_rate`` (default None).
        consecutive: Opens after this many failures in a row (default None).
        down_after: Opens after this many seconds with only failures, at least ``minimum_calls`` of them
            (default 2).
        window: Seconds; the latest calls are those of this time (default 60).
        window_calls: Use this many of the latest calls instead of ``window`` (default None).
        minimum_calls: Results that are needed before a rate is checked (default 20).
        open_for: Seconds until the first probe (default 60).
        probes: Calls that are let through after ``open_for`` (default 3). The circuit closes if all of them
            succeed. It opens again if one fails, or if ``slow_rate`` of them are slow.

    Raises:
        SettingsError: A value is out of range, no condition is on, both windows or none are set, or only one
            of ``slow_after`` and ``slow_rate`` is set.

    Example:
        >>> client = headrace.Client(policies=[Breaker(consecutive=5, open_for=30)])
    """

    name = "breaker"
    stage = Stage.PROTECT

    failure_rate: float | None = attrs.field(default=0.5, validator=_validate_rate)
    slow_after: float | None = attrs.field(default=None, validator=_validate_positive)
    slow_rate: float | None = attrs.field(default=None, validator=_validate_rate)
    window_calls: int | None = attrs.field(default=None, validator=_validate_positive)
    window: float | None = attrs.field(
        default=attrs.Factory(_default_window, takes_self=True), validator=_validate_positive
    )
    minimum_calls: int = attrs.field(default=20, validator=_validate_positive)
    consecutive: int | None = attrs.field(default=None, validator=_validate_positive)
    down_after: float | None = attrs.field(default=2.0, validator=_validate_positive)
    open_for: float = attrs.field(default=60.0, validator=_validate_positive)
    probes: int = attrs.field(default=3, validator=_validate_positive)
    _config: CircuitConfig = attrs.field(init=False, repr=False)
    _circuits: dict[str, Circuit] = attrs.field(factory=dict, init=False, repr=False)
    _urls: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)
    _open_reasons: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if all(
            condition is None
            for condition in (self.failure_rate, self.slow_rate, self.consecutive, self.down_after)
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
        self._config = CircuitConfig(
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
        """A breaker that opens for 60 s after 5 failures in a row, and closes after one successful probe."""
        return cls(failure_rate=None, down_after=None, consecutive=5, open_for=60.0, probes=1)

    def state(self, endpoint: str) -> Literal["closed", "open", "half_open"]:
        """The state of an endpoint's circuit.

        It is "open" until the first probe is let through, and "closed" before the first call.

        Args:
            endpoint: The endpoint's name or its base URL.
        """
        circuit = self._circuits.get(self._urls.get(endpoint, endpoint.rstrip("/")))
        state: Literal["closed", "open", "half_open"] = circuit.state.value if circuit else "closed"
        return state

    def open_circuits(self) -> dict[str, str]:
        """Why circuits are open, by base URL; for the snapshot of a bulk run."""
        return {
            url: self._open_reasons[url]
            for url, circuit in self._circuits.items()
            if circuit.state is CircuitState.OPEN
        }

    def reset(self) -> None:
        """Forget all circuits: they used the clock of an event loop that has ended."""
        self._circuits.clear()
        self._open_reasons.clear()

    def wrap(self, send: Send) -> Send:
        """Return ``send`` behind the circuit of the call's endpoint."""
        circuits: dict[Endpoint, Circuit] = {}
        timed = self.slow_after is not None
        name, on_resume = self.name, (self._recheck,)

        async def protect(call: Call) -> Reply:
            circuit = circuits.get(call.endpoint)
            if circuit is None:
                circuit = circuits[call.endpoint] = self._circuit(call.endpoint)
            if circuit.state is not CircuitState.CLOSED:
                self._admit(circuit, call)
            call.notes[name] = circuit.generation
            others = call.on_resume
            call.on_resume = (*others, *on_resume) if others else on_resume
            # Without slow_after the duration is not used.
            began = call.now() if timed else 0.0
            try:
                reply = await send(call)
            except BaseException as error:
                self._record(circuit, call, error, _seconds_on_wire(began, call))
                raise
            finally:
                call.on_resume = others
            if call.streamed:
                # The reader may delay the rest of the stream, so only the time until here counts.
                took = _seconds_on_wire(began, call)
                call.add_done_callback(functools.partial(self._on_stream_end, circuit, call, took))
                return reply
            generation = call.notes[name]
            if generation == circuit.generation:
                circuit.record_success(
                    generation, call.now(), _seconds_on_wire(began, call) if timed else 0.0
                )
                if generation != circuit.generation:
                    self._notify_change(circuit, call)
            return reply

        return protect

    def _circuit(self, endpoint: Endpoint) -> Circuit:
        """The circuit of the endpoint's base URL: endpoints that share a URL fail together."""
        self._urls[endpoint.name] = endpoint.base_url
        return self._circuits.setdefault(endpoint.base_url, Circuit(self._config))

    def _on_stream_end(self, circuit: Circuit, call: Call, took: float, result: StreamResult) -> None:
        self._record(circuit, call, result.error, took)

    def _recheck(self, call: Call) -> None:
        """Refuse an attempt after a wait if the circuit opened during the wait."""
        circuit = self._circuits[call.endpoint.base_url]
        if call.notes[self.name] != circuit.generation:
            if circuit.state is not CircuitState.CLOSED:
                self._admit(circuit, call)
            call.notes[self.name] = circuit.generation

    def _admit(self, circuit: Circuit, call: Call) -> None:
        """Let a call through as a probe, or raise `CircuitOpen`."""
        now = call.now()
        generation = circuit.generation
        admitted = circuit.admit(now)
        if generation != circuit.generation:
            self._notify_change(circuit, call)
        if admitted:
            return
        retry_after = circuit.retry_after(now)
        url = call.endpoint.base_url
        reason = f" ({because})" if (because := self._open_reasons.get(url)) else ""
        if retry_after > 0:
            state = f"is open{reason}; the next probe is due in {retry_after:.1f} s"
        else:
            state = f"is half open{reason}, and its probes are under way"
        raise CircuitOpen(f"not sent: the circuit of {url} {state}", retry_after)

    def _record(self, circuit: Circuit, call: Call, error: BaseException | None, took: float) -> None:
        """Record the result of a call, and notify observers if that changes the state."""
        generation = call.notes[self.name]
        failed = False if error is None else is_endpoint_failure(error)
        if failed is None:
            circuit.release_permit(generation)
            return
        before = circuit.generation
        now = call.now()
        if failed:
            circuit.record_failure(generation, now, took)
        else:
            circuit.record_success(generation, now, took)
        if before != circuit.generation:
            self._notify_change(circuit, call, str(error)[:_REASON_LIMIT] if failed else _SLOW)

    def _notify_change(self, circuit: Circuit, call: Call, because: str = _SLOW) -> None:
        """Notify observers of a new state, and remember why a circuit opened."""
        url, details = call.endpoint.base_url, dict[str, Any]()
        if circuit.state is CircuitState.OPEN:
            self._open_reasons[url] = because
            details = {"open_for": self.open_for, "because": because}
        call.notify("circuit", endpoint=url, state=circuit.state.value, **details)


def _seconds_on_wire(began: float, call: Call) -> float:
    """How long an attempt was on the wire since its last wait."""
    return call.now() - max(began, call.resumed)
