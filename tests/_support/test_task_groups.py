"""Task groups that raise a single error as itself."""

import anyio
import pytest

from headrace._support.task_groups import task_group

pytestmark = pytest.mark.anyio


async def fail(error: Exception) -> None:
    raise error


async def test_a_single_error_is_raised_as_itself_with_its_cause() -> None:
    error = ValueError("alone")
    error.__cause__ = KeyError("why")

    async def fail_once() -> None:
        async with task_group() as group:
            group.start_soon(fail, error)

    with pytest.raises(ValueError, match="alone") as caught:
        await fail_once()
    assert isinstance(caught.value.__cause__, KeyError)


async def test_several_errors_are_raised_as_a_group() -> None:
    async def fail_twice() -> None:
        async with task_group() as group:
            group.start_soon(fail, ValueError())
            group.start_soon(fail, KeyError())

    with pytest.raises(ExceptionGroup) as caught:
        await fail_twice()
    assert {type(error) for error in caught.value.exceptions} == {ValueError, KeyError}


async def test_one_error_object_of_several_tasks_counts_once() -> None:
    error = ValueError("the disk is full")

    async def fail_twice() -> None:
        async with task_group() as group:
            group.start_soon(fail, error)
            group.start_soon(fail, error)

    with pytest.raises(ValueError, match="full") as caught:
        await fail_twice()
    assert caught.value is error


async def test_a_cancellation_from_outside_is_not_an_error() -> None:
    with anyio.move_on_after(0.01) as scope:
        async with task_group():
            await anyio.sleep_forever()
    assert scope.cancelled_caught
