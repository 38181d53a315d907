"""A task group whose single error comes out of it as itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc


@asynccontextmanager
async def task_group() -> AsyncIterator[anyio.abc.TaskGroup]:
    """`anyio.create_task_group`, whose ExceptionGroup reaches the caller only if several errors happened.

    One that several tasks met, as of a file that all write to, is one.
    """
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        found = {id(error): error for error in errors.exceptions}
        if len(found) > 1:
            raise
        (error,) = found.values()
        # The cause stays: without this, the group would be named as what the error came from.
        raise error from error.__cause__
