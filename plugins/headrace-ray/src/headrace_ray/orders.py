"""What the driver of a session orders while it goes on: a file in the folder that its processes share.

The folder ends with the session, so a later session begins without orders.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from headrace import ControlRefused, SettingsError
from headrace_ray.shared_files import replace_file

LimitValue = int | float | str | None


class Orders(msgspec.Struct, frozen=True):
    """The orders that are in force.

    Attributes:
        paused: Whether no items may be drawn.
        share: The most calls in flight of each actor; None for that of the start.
        limits: Limits of policies that were changed, by name.
    """

    paused: bool = False
    share: int | None = None
    limits: dict[str, LimitValue] = {}


_decode = msgspec.json.Decoder(Orders).decode


def _file_in(shared: Path) -> Path:
    return shared / "orders.json"


class ActorOrders:
    """Gives the orders, in the driver.

    Args:
        shared: The folder that the processes of the session share.
        actors: The number of actors.
        max_in_flight: The most calls in flight of all actors together, at the start.
    """

    def __init__(self, shared: Path, actors: int, max_in_flight: int) -> None:
        self._file = _file_in(shared)
        self._actors = actors
        self._max_in_flight = max_in_flight
        self._orders = Orders()

    @property
    def paused(self) -> bool:
        """Whether no items may be drawn; it can be set."""
        return self._orders.paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._give(Orders(paused, self._orders.share, self._orders.limits))

    @property
    def max_in_flight(self) -> int:
        """The most calls in flight, of all actors together; it can be set."""
        return self._max_in_flight

    @max_in_flight.setter
    def max_in_flight(self, total: int) -> None:
        if total < self._actors:
            raise SettingsError(f"must be at least {self._actors}, the number of actors")
        self._give(Orders(self._orders.paused, total // self._actors, self._orders.limits))
        self._max_in_flight = total

    def set_limit(self, name: str, value: LimitValue) -> None:
        """Change a limit of the policies of all actors, also of those that replace others later."""
        self._give(Orders(self._orders.paused, self._orders.share, {**self._orders.limits, name: value}))

    def _give(self, orders: Orders) -> None:
        try:
            replace_file(self._file, msgspec.json.encode(orders))
        except OSError as error:
            raise ControlRefused(f"{self._file}: {error.strerror}; nothing was changed") from error
        self._orders = orders


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
