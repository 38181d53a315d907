"""What a run needs of its task: the input, and the request of each item."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, Protocol

from headrace.bulk.sources import Item, TaskInput
from headrace.calls import Request
from headrace.wire.structured_output import ResponseFormat


class RunTask(Protocol):
    """Makes the requests of a run: `Task` for prompts, `EmbeddingTask` for texts to embed.

    See `Task` for its members. A task whose answers are not chosen or typed has no ``choices`` and no
    ``answer``.
    """

    @property
    def source(self) -> TaskInput: ...
    @property
    def choices(self) -> Sequence[str]: ...
    @property
    def answer(self) -> ResponseFormat | None: ...
    @property
    def fail_on(self) -> Set[str]: ...
    def digest(self, item: Item, /) -> int: ...
    def check_item(self, item: Item, /) -> None: ...
    def request(self, item: Item, /) -> Request: ...
    def fingerprint(self) -> dict[str, Any]: ...
