"""Tasks that run as long as a block of code does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio


@asynccontextmanager
async def background(*tasks: Callable[[], Coroutine[Any, Any, object]]) -> AsyncGenerator[None]:
    """Run tasks beside the block, and end them with it.

    What the block raises goes on as it was raised: a task group by itself would wrap it, and whoever wrote the block
    knows of no group.
    """
    raised: BaseException | None = None
    try:
        async with anyio.create_task_group() as group:
            for task in tasks:
                group.start_soon(task)
            try:
                yield
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001 - raised below, where no group wraps it
                raised = error
            group.cancel_scope.cancel()
    finally:
        if raised is not None:
            raise raised
