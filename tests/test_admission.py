"""Those who came first are served while those who came at the same moment still wait to be let in."""

from __future__ import annotations

from itertools import pairwise, takewhile

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from starlette.types import Message, Receive, Scope, Send

from voxplane.background import background
from voxplane.server.admission import Admission
from voxplane.server.api import routes
from voxplane.server.app import create_app

HERD = 100
CALL = {"type": "http", "path": "/api/organizations/current/resolve"}


class Counter:
    """An application that takes a few rounds of the event loop for each request."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self.came: list[int] = []
        self.left: list[int] = []
        self.inside_when_first_left: int | None = None

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Serve one."""
        self.came.append(scope["number"])
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        if self.inside_when_first_left is None:
            self.inside_when_first_left = len(self.came)
        self.left.append(scope["number"])


async def _receive() -> Message:
    raise AssertionError("nobody reads")


async def _send(_message: Message) -> None:
    raise AssertionError("nobody answers")


def _come(admission: Admission, group: TaskGroup) -> None:
    for number in range(HERD):
        group.start_soon(admission, {**CALL, "number": number}, _receive, _send)


async def test_the_first_of_a_herd_are_done_before_the_last_are_let_in() -> None:
    counter = Counter()
    admission = Admission(counter)
    async with anyio.create_task_group() as group:
        _come(admission, group)
    assert counter.came == counter.left == list(range(HERD))
    assert counter.inside_when_first_left is not None
    assert counter.inside_when_first_left < HERD / 4


async def test_a_look_whether_all_is_well_waits_for_nobody() -> None:
    counter = Counter()
    admission = Admission(counter)
    async with anyio.create_task_group() as group:
        _come(admission, group)
        group.start_soon(admission, {"type": "http", "path": "/healthz", "number": HERD}, _receive, _send)
    assert counter.came.index(HERD) < HERD / 4


def test_requests_go_through_it_and_a_workers_question_past_the_layers_that_it_does_not_need() -> None:
    assert Admission in [each.cls for each in create_app().user_middleware]
    (resolve,) = [each for each in routes() if each.path.endswith("/resolve")]
    assert "_directly" in getattr(resolve.app, "__qualname__", "")


async def test_who_comes_alone_is_let_in_at_once() -> None:
    counter = Counter()
    admission = Admission(counter)
    for number in range(10):
        serving = admission({**CALL, "number": number}, _receive, _send)
        serving.send(None)
        assert counter.came[-1] == number
        serving.close()
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("gone", [range(10), range(50, 60), range(HERD)])
async def test_who_leaves_while_waiting_takes_nobodys_turn(gone: range) -> None:
    """As many are let in each round as if those who left had never come."""
    counter, rounds = Counter(), list[int]()
    admission = Admission(counter)
    scopes = [anyio.CancelScope() for _ in range(HERD)]

    async def ask(number: int) -> None:
        with scopes[number]:
            await admission({**CALL, "number": number}, _receive, _send)

    async def count() -> None:
        while True:
            rounds.append(len(counter.came))
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        async with background(count):
            async with anyio.create_task_group() as group:
                for number in range(HERD):
                    group.start_soon(ask, number)
                await anyio.lowlevel.checkpoint()
                for number in gone:
                    scopes[number].cancel()
            await admission({**CALL, "number": HERD}, _receive, _send)
    assert set(counter.left) >= {*range(HERD + 1)} - {*gone}
    let_in = [after - before for before, after in pairwise(rounds)]
    in_turn = list(takewhile(bool, let_in[2:]))  # after the first three, and the round in which some of them leave
    assert set(in_turn) <= {3}
    assert sum(in_turn) == len({*range(3, HERD)} - {*gone})
