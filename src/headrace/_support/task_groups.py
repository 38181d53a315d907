"""A task group that raises a single error as itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc


@asynccontextmanager
async def task_group() -> AsyncIterator[anyio.abc.TaskGroup]:
    """`anyio.create_task_group` that raises an ExceptionGroup only for several different errors.

    An exception object that several tasks raise counts once, for example that of a shared file.
    """
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as errors:
        found = {id(error): error for error in errors.exceptions}
        if len(found) > 1:
            raise
        (error,) = found.values()
        # "from" keeps the cause; otherwise the traceback would name the group as the cause.
        raise error from error.__cause__
