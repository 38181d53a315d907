"""The behaviour of the embedded endpoint: latency, limits, faults."""

from collections.abc import Iterable
from typing import Literal, cast, get_args

import attrs

from headrace.testing.server.quirks import quirks_of

FaultKind = Literal["500", "503", "429", "reset", "stall"]

FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


def _fault_kinds(names: Iterable[str]) -> tuple[FaultKind, ...]:
    asked = tuple(names)
    if not asked:
        raise ValueError(f"no fault is named: choose among {', '.join(FAULT_KINDS)}")
    for name in asked:
        if name not in FAULT_KINDS:
            raise ValueError(f"there is no fault {name!r}: choose among {', '.join(FAULT_KINDS)}")
    return cast(tuple[FaultKind, ...], asked)


def _quirk_names(names: Iterable[str]) -> tuple[str, ...]:
    asked = tuple(names)
    quirks_of(asked)
    return asked


def _above_zero(_: "Behaviour", attribute: "attrs.Attribute[float | None]", value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{attribute.name} must be above zero, not {value}; None means no limit")


@attrs.frozen(kw_only=True)
class Behaviour:
    """How the endpoint answers. The default is at once, without limit or fault.

    Args:
        latency: seconds from a request to its reply. A streamed reply begins after half of it.
        jitter: seconds added to or taken from the latency, drawn evenly.
        rate_limit: requests per second, a token bucket that holds one second's worth (at least one); what
            comes faster gets a 429 at once. None: no limit. Listing models is not limited.
        errors: share of attempts, 0 to 1, that get a fault instead of their reply.
        faults: the kinds of fault drawn, each as likely as the others. `"500"`, `"503"`, `"429"`: that
            status; `"reset"`: the connection is cut in the middle of the body; `"stall"`: part of the body,
            then silence.
        stall: seconds of silence of a stall, after which the connection is cut.
        seed: another seed gives other answers, and faults at other requests.
        api_key: when set, a request with no or another bearer token gets a 401. In no repr.
        quirks: names of odd ways to answer chats; see `headrace.testing.server.quirks`.

    Raises:
        ValueError: a value is outside its range, or no fault or quirk has such a name.
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
