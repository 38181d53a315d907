"""What the driver of a session orders while it goes on: a file in the folder that its processes share.

The folder ends with the session, so a later command begins without orders.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from headrace import ControlRefused, SettingsError
from headrace_ray.shared_files import replace_file

LimitValue = int | float | str | None


class Orders(msgspec.Struct, frozen=True):
    """The orders that are in force.

    Attributes:
        number: How many orders have been given; actors report the last one that they have carried out.
        paused: Whether no items may be drawn.
        max_in_flight: The most calls in flight, of all actors together; None for that of the start.
        limits: Limits of policies that were changed, by name.
        cancelled: The ids of items that fail if they are in flight, or when they are drawn.
    """

    number: int = 0
    paused: bool = False
    max_in_flight: int | None = None
    limits: dict[str, LimitValue] = {}
    cancelled: list[str] = []


_decode = msgspec.json.Decoder(Orders).decode


def _file_in(shared: Path) -> Path:
    return shared / "orders.json"


class ActorOrders:
    """Gives the orders, in the driver. Its methods may be called in any thread.

    Args:
        shared: The folder that the processes of the session share.
        actors: The number of actors.
        max_in_flight: The most calls in flight of all actors together, at the start.
    """

    def __init__(self, shared: Path, actors: int, max_in_flight: int) -> None:
        self._file: Path | None = _file_in(shared)
        self._actors = actors
        self._max_in_flight = max_in_flight
        self._orders = Orders()
        self._turn = threading.Lock()

    @property
    def paused(self) -> bool:
        """Whether no items may be drawn; it can be set."""
        return self._orders.paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._give(paused=paused)

    @property
    def max_in_flight(self) -> int:
        """The most calls in flight, of all actors together; it can be set."""
        ordered = self._orders.max_in_flight
        return self._max_in_flight if ordered is None else ordered

    @max_in_flight.setter
    def max_in_flight(self, total: int) -> None:
        if total < self._actors:
            raise SettingsError(f"must be at least {self._actors}, the number of actors")
        self._give(max_in_flight=total)

    def set_limit(self, name: str, value: LimitValue) -> None:
        """Change a limit of the policies of all actors, also of those that replace others later."""
        self._give(limits={**self._orders.limits, name: value})

    @property
    def cancelled(self) -> list[str]:
        """The ids of cancelled items."""
        return self._orders.cancelled

    def cancel(self, ids: Collection[str]) -> int:
        """Have items cancelled; returns the number of this order."""
        return self._give(cancelled=list(dict.fromkeys([*self._orders.cancelled, *ids])))

    def forget_cancelled(self, ids: Collection[str]) -> None:
        """Do not cancel items that are done, if they are sent again."""
        left = [id for id in self._orders.cancelled if id not in ids]
        if len(left) < len(self._orders.cancelled):
            self._give(cancelled=left)

    def hold(self) -> None:
        """Write no orders until `move_to`, because the session ends."""
        with self._turn:
            self._file = None

    def move_to(self, shared: Path) -> None:
        """Write the orders that are in force for the next session."""
        with self._turn:
            self._file = _file_in(shared)
            self._write(self._orders)

    def _give(self, **changes: Any) -> int:
        with self._turn:
            orders = msgspec.structs.replace(self._orders, number=self._orders.number + 1, **changes)
            self._write(orders)
            self._orders = orders
        return orders.number

    def _write(self, orders: Orders) -> None:
        if self._file is not None and orders.number:
            try:
                replace_file(self._file, msgspec.json.encode(orders))
            except OSError as error:
                raise ControlRefused(f"{self._file}: {error.strerror}; nothing was changed") from error


class OrderReader:
    """Reads the orders, in an actor."""

    def __init__(self, shared: Path) -> None:
        self._file = _file_in(shared)
        self._content = b""

    def read_new(self) -> Orders | None:
        """Return the orders if they have changed since the last call, else None."""
        try:
            content = self._file.read_bytes()
        except OSError:  # there are none, or the folder cannot be read now
            return None
        if content == self._content:
            return None
        self._content = content
        return _decode(content)
