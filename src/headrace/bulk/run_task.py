"""What a run needs of its task: the input, and the requests of its items."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, Protocol

from headrace.bulk.sources import Item, TaskInput
from headrace.calls import Request
from headrace.wire.structured_output import ResponseFormat


class RunTask(Protocol):
    """A task of any run; see `Task` for its members."""

    @property
    def source(self) -> TaskInput: ...
    @property
    def fail_on(self) -> Set[str]: ...
    def digest(self, item: Item, /) -> int: ...
    def check_item(self, item: Item, /) -> None: ...
    def fingerprint(self) -> dict[str, Any]: ...


class CallTask(RunTask, Protocol):
    """A task with one request for each item: `Task` for prompts, `EmbeddingTask` for texts to embed.

    A task whose answers are not chosen or typed has no ``choices`` and no ``answer``.
    """

    @property
    def choices(self) -> Sequence[str]: ...
    @property
    def answer(self) -> ResponseFormat | None: ...
    def request(self, item: Item, /) -> Request: ...
