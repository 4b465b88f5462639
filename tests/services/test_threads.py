"""What blocks is done in a thread, and waited for to its end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from outdial.services.threads import in_thread
from waiting import until


async def test_it_returns_and_raises_what_comes_of_it():
    assert await in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_cancelled_it_is_over_only_when_the_thread_is():
    begun, go_on, over = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        go_on.wait()
        over.append(True)

    task = asyncio.create_task(in_thread(work))
    await until(begun.is_set)
    task.cancel()
    # the cancellation has come, and the thread is not done
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert over == [True]
