"""The behaviour of the embedded endpoint: latency, limits, faults."""

from collections.abc import Iterable
from typing import Literal, cast, get_args

import attrs

from headrace.testing.server.quirks import find_quirks

FaultKind = Literal["500", "503", "429", "reset", "stall", "truncate"]

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


def _share(_: "Behaviour", attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} must be between 0 and 1, not {value}")


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
            sent, then nothing; `"truncate"`: half of the body is sent as if it were all of it. Default: all
            but `"stall"` and `"truncate"`. Requests for files and batches get faults, too: with `"503"` and
            `"429"` nothing was done; with the others, what should be created is there.
        stall: Seconds without data in a stall; then the connection is cut.
        seed: Another seed gives other answers, and faults for other requests.
        api_key: If set, a request without this bearer token gets a 401. The repr does not show it.
        quirks: Names of unusual answers to chats; see `headrace.testing.server.quirks`.
        batch_time: Seconds from the creation of a batch to its end.
        batch_failures: Share of a batch's requests, 0 to 1, that end with an error.
        batch_expire: Share of a batch's requests, 0 to 1, that are not executed in time. A batch with such
            a request ends as `expired`.
        batch_max_requests: Largest number of requests in a batch.
        batch_max_bytes: Largest size of a batch's input file, in bytes.
        batch_max_tokens: Largest number of input tokens of one model in all unfinished batches. None: no
            limit.
        batch_listing_delay: Seconds until a new file or batch is in the lists of files or batches.

    Raises:
        ValueError: A value is outside its range, or a fault or quirk is unknown.
    """

    latency: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    jitter: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    rate_limit: float | None = attrs.field(default=None, validator=_above_zero)
    errors: float = attrs.field(default=0.0, validator=_share)
    faults: tuple[FaultKind, ...] = attrs.field(
        default=("500", "503", "429", "reset"), converter=_fault_kinds
    )
    stall: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    seed: int = 0
    api_key: str | None = attrs.field(default=None, repr=False)
    quirks: tuple[str, ...] = attrs.field(default=(), converter=_quirk_names)
    batch_time: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))
    batch_failures: float = attrs.field(default=0.0, validator=_share)
    batch_expire: float = attrs.field(default=0.0, validator=_share)
    batch_max_requests: int = attrs.field(default=50_000, validator=attrs.validators.ge(1))
    batch_max_bytes: int = attrs.field(default=200 * 1024 * 1024, validator=attrs.validators.ge(1))
    batch_max_tokens: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    batch_listing_delay: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
