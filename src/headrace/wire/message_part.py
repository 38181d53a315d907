"""A part of a message, whose content is read when the request is encoded; `message_parts` has the kinds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any


# Not an attrs class: msgspec would encode its attributes.
class MessagePart(Mapping[str, Any]):
    """A part with two members: ``type``, and one of that name whose content is read at each look-up."""

    __slots__ = ()

    type: str

    def __getitem__(self, name: str) -> Any:
        if name == "type":
            return self.type
        if name == self.type:
            return self._content()
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(("type", self.type))

    def __len__(self) -> int:
        return 2

    @abstractmethod
    def _content(self) -> dict[str, str]:
        """The member that is named like the type."""
