"""One answer for all who ask at one moment."""

from __future__ import annotations

from itertools import count

import anyio
import pytest

from voxplane.errors import Unavailable
from voxplane.server.shared_answer import SharedAnswer

HERD = 1000


class Source:
    """What is asked: it answers when it is let, and counts."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self.asked = 0
        self.may_answer = anyio.Event()
        self.error: Unavailable | None = None

    async def answer(self) -> int:
        """Return how often it was asked."""
        self.asked += 1
        mine = self.asked
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return mine


async def test_a_herd_is_answered_by_what_began_after_it_came() -> None:
    shared, source, found = SharedAnswer[int](), Source(), list[int]()

    async def ask() -> None:
        found.append(await shared.ask(source.answer))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        for _ in range(HERD):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert source.asked == 1
        source.may_answer.set()
    assert found == [1, *[2] * HERD]
    assert await shared.ask(source.answer) == 3


async def test_who_has_an_answer_does_not_wait_for_the_next_one() -> None:
    """Who asks again at once begins anew before those who waited for the last answer go on."""
    shared, found = SharedAnswer[int](), list[int]()
    may_end = [anyio.Event() for _ in range(3)]
    begun = count()

    async def answer() -> int:
        number = next(begun)
        await may_end[number].wait()
        return number

    async def ask_on_and_on() -> None:
        for _ in may_end:
            await shared.ask(answer)

    async def ask() -> None:
        found.append(await shared.ask(answer))

    async with anyio.create_task_group() as group:
        group.start_soon(ask_on_and_on)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(ask)
        for ended, seen in ((0, []), (1, [1])):
            may_end[ended].set()
            await anyio.wait_all_tasks_blocked()
            assert found == seen
        may_end[2].set()


async def test_one_round_serves_all_who_waited_also_when_it_ends_before_their_turn() -> None:
    """What can be worked out without waiting is over before the next of them goes on."""
    shared, source, found = SharedAnswer[int](), Source(), list[int]()

    async def ask() -> None:
        found.append(await shared.ask(source.answer))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        source.may_answer.set()
    assert (source.asked, found) == (2, [1, 2, 2, 2, 2])


async def test_what_is_kept_serves_also_those_who_came_later() -> None:
    shared, source, kept, found = SharedAnswer[int](), Source(), list[int](), list[int]()

    async def work() -> int:
        kept.append(await source.answer())
        return kept[0]

    async def ask() -> None:
        found.append(await shared.ask(work, lambda: kept[0] if kept else None))

    async with anyio.create_task_group() as group:
        for _ in range(HERD):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        source.may_answer.set()
    assert found == [1] * HERD


async def test_a_failure_is_told_to_all_whom_the_work_was_for() -> None:
    shared, source, told = SharedAnswer[int](), Source(), count()
    source.error = Unavailable()

    async def ask() -> None:
        with pytest.raises(Unavailable):
            await shared.ask(source.answer)
        next(told)

    async with anyio.create_task_group() as group:
        for _ in range(HERD):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        source.may_answer.set()
    assert (source.asked, next(told)) == (2, HERD)
    source.error = None
    assert await shared.ask(source.answer) == 3


async def test_another_goes_on_when_the_one_who_began_is_gone() -> None:
    shared, source, found = SharedAnswer[int](), Source(), list[int]()

    async def ask() -> None:
        found.append(await shared.ask(source.answer))

    async with anyio.create_task_group() as group, anyio.create_task_group() as first:
        first.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        first.cancel_scope.cancel()
        await anyio.lowlevel.cancel_shielded_checkpoint()
        source.may_answer.set()
    assert found == [2] * 3
