"""Tasks beside a block: they end with it, and leave what it raises alone."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from voxplane.background import background


@pytest.mark.parametrize("error", [ValueError("of the block"), SystemExit(3)], ids=lambda each: type(each).__name__)
async def test_what_the_block_raises_goes_on_as_it_was_raised(error: BaseException) -> None:
    with pytest.raises(type(error)) as found:
        async with background(anyio.sleep_forever):
            raise error
    assert found.value is error
    assert error.__context__ is None


async def test_tasks_end_with_the_block() -> None:
    ended = list[str]()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("work")

    async with background(work, work):
        await anyio.lowlevel.checkpoint()
    assert ended == ["work", "work"]


async def test_a_block_that_is_cancelled_ends_as_one() -> None:
    with anyio.CancelScope() as scope:
        async with background(anyio.sleep_forever):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_task_that_fails_ends_the_block_and_is_heard_of() -> None:
    async def work() -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup) as found:
        async with background(work):
            await anyio.sleep_forever()
    assert [type(each) for each in found.value.exceptions] == [LookupError]


async def test_of_two_errors_neither_hides_the_other() -> None:
    own = ValueError("of the block")

    async def work() -> None:
        raise LookupError

    async def block() -> None:
        async with background(work):
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                raise own

    with pytest.raises(ValueError, match="of the block") as found:
        await block()
    assert isinstance(found.value.__context__, ExceptionGroup)
