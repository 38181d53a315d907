"""The behaviour of the embedded endpoint: latency, limits, faults."""

from collections.abc import Iterable
from typing import Literal, cast, get_args

import attrs

from headrace.testing.server.quirks import find_quirks

FaultKind = Literal["500", "503", "429", "reset", "stall"]

FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


def _fault_kinds(names: Iterable[str]) -> tuple[FaultKind, ...]:
    values = tuple(names)
    if not values:
        raise ValueError(f"faults: must name at least one of {', '.join(FAULT_KINDS)}")
    for name in values:
        if name not in FAULT_KINDS:
            raise ValueError(f"unknown fault {name!r}: must be one of {', '.join(FAULT_KINDS)}")
    return cast(tuple[FaultKind, ...], values)


def _quirk_names(names: Iterable[str]) -> tuple[str, ...]:
    values = tuple(names)
    find_quirks(values)
    return values


def _above_zero(_: "Behaviour", attribute: "attrs.Attribute[float | None]", value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{attribute.name} must be above zero, not {value}; None means no limit")


@attrs.frozen(kw_only=True)
class Behaviour:
    """How the embedded endpoint answers. By default it answers at once, without limits or faults.

    Args:
        latency: Seconds from a request to its reply. A streamed reply begins after half of it.
        jitter: Largest difference from the latency, in seconds; uniformly distributed.
        rate_limit: Requests per second, as a token bucket that holds one second's worth (at least one
            request). Further requests get a 429 at once. None: no limit. Listing models is not limited.
        errors: Share of attempts, 0 to 1, that get a fault instead of their reply.
        faults: The kinds of faults; all are equally likely. `"500"`, `"503"`, `"429"`: that status;
            `"reset"`: the connection is cut in the middle of the body; `"stall"`: a part of the body is
            sent, then nothing. Default: all but `"stall"`.
        stall: Seconds without data in a stall; then the connection is cut.
        seed: Another seed gives other answers, and faults for other requests.
        api_key: If set, a request without this bearer token gets a 401. The repr does not show it.
        quirks: Names of unusual answers to chats; see `headrace.testing.server.quirks`.

    Raises:
        ValueError: A value is outside its range, or a fault or quirk is unknown.
    """

    latency: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    jitter: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    rate_limit: float | None = attrs.field(default=None, validator=_above_zero)
    errors: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    faults: tuple[FaultKind, ...] = attrs.field(
        default=("500", "503", "429", "reset"), converter=_fault_kinds
    )
    stall: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    seed: int = 0
    api_key: str | None = attrs.field(default=None, repr=False)
    quirks: tuple[str, ...] = attrs.field(default=(), converter=_quirk_names)
