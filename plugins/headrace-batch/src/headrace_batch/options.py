"""The options of the engine."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs
import click

from headrace import SettingsError

MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000
"""The limits of OpenAI; other endpoints have the same ones or higher ones."""


def _at_least_one(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingsError(f"{attribute.name}={value!r}: must be an integer of at least 1")


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 86_400:
        raise SettingsError(f"{attribute.name}={value!r}: must be a number of seconds above 0")


def _as_time(value: str | datetime.time | None) -> datetime.time | None:
    if value is None:
        return None
    try:
        time = value if isinstance(value, datetime.time) else datetime.time.fromisoformat(value)
    except (TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is not None:
        raise SettingsError(f"finish_by={value!r}: must be a local time like 06:00")
    return time


def _is_way(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value not in ("batch", "sync"):
        raise SettingsError(f"stragglers={value!r}: must be 'batch' or 'sync'")


_ID = re.compile(r"[\w.:-]+")


def _are_ids(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    for id in value:
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise SettingsError(f"adopt={id!r}: must be the id of a batch, like batch_abc123")


def _as_ids(value: Any) -> tuple[Any, ...]:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return tuple(dict.fromkeys(value))
    return (value,)


@attrs.frozen(kw_only=True)
class BatchOptions:
    """How batches are made and awaited.

    Attributes:
        max_requests: The largest number of rows in a batch.
        max_bytes: The largest size of a batch's file.
        max_tokens: The most prompt tokens of a model in all batches that have not ended, as estimated; None
            for no limit but the endpoint's own.
        poll: The longest time between two looks at a batch, in seconds.
        detach: Whether the session leaves when all batches are created.
        stragglers: How rows are sent that a batch did not finish: in a further batch, or as ordinary calls.
        finish_by: The local time at which the batches are cancelled and the rest is sent as ordinary calls.
        adopt: The ids of batches that another program created.
    """

    max_requests: int = attrs.field(default=MOST_REQUESTS, validator=_at_least_one)
    max_bytes: int = attrs.field(default=MOST_BYTES, validator=_at_least_one)
    max_tokens: int | None = attrs.field(default=None, validator=attrs.validators.optional(_at_least_one))
    poll: float = attrs.field(default=60.0, validator=_positive)
    detach: bool = False
    stragglers: Literal["batch", "sync"] = attrs.field(default="batch", validator=_is_way)
    finish_by: datetime.time | None = attrs.field(default=None, converter=_as_time)
    adopt: tuple[str, ...] = attrs.field(default=(), converter=_as_ids, validator=_are_ids)

    def __attrs_post_init__(self) -> None:
        if self.detach and self.finish_by is not None:
            raise SettingsError("detach=: leave out finish_by=; a session that leaves cannot finish the rest")

    def finish_at(self, now: datetime.datetime) -> datetime.datetime | None:
        """The next ``finish_by`` after a local time without a zone; None without one."""
        if self.finish_by is None:
            return None
        end = datetime.datetime.combine(now.date(), self.finish_by)
        if end <= now:
            end += datetime.timedelta(days=1)
        return end.astimezone()  # clocks may be changed in between


_PREFIX = "batch_"


def click_options() -> Sequence[click.Option]:
    """The options of ``headrace run``."""
    return [
        click.Option(
            ["--batch-max-requests"],
            type=click.IntRange(min=1),
            metavar="N",
            help=f"Largest number of rows in a batch; default: {MOST_REQUESTS:,}.",
        ),
        click.Option(
            ["--batch-max-bytes"],
            type=click.IntRange(min=1),
            metavar="BYTES",
            help=f"Largest size of a batch's file; default: {MOST_BYTES:,}.",
        ),
        click.Option(
            ["--batch-max-tokens"],
            type=click.IntRange(min=1),
            metavar="N",
            help="Most prompt tokens of a model in all batches that have not ended, as estimated.",
        ),
        click.Option(
            ["--batch-poll"],
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="Longest time between two looks at a batch; default: 60.",
        ),
        click.Option(["--detach"], is_flag=True, help="Leave when all batches are created."),
        click.Option(
            ["--stragglers"],
            type=click.Choice(["batch", "sync"]),
            help="How to send rows that a batch did not finish; default: batch.",
        ),
        click.Option(
            ["--finish-by"],
            metavar="HH:MM",
            help="Local time at which batches are cancelled and the rest is sent at once.",
        ),
        click.Option(
            ["--adopt"],
            multiple=True,
            metavar="BATCH",
            help="Id of a batch that another program made: its results are used; may be repeated.",
        ),
    ]


def with_click_values(options: BatchOptions, values: Mapping[str, Any]) -> BatchOptions:
    """The options with those that were given on the command line."""
    given = {
        name.removeprefix(_PREFIX): value for name, value in values.items() if value not in (None, False, ())
    }
    return attrs.evolve(options, **given)
