"""One writer at a time, first come, first served."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llm_backend.domain.errors import DatabaseUnavailable
from llm_backend.infrastructure.sql.write_turns import WriteTurns


async def test_coroutines_take_turns_in_the_order_in_which_they_came() -> None:
    turns, order = WriteTurns(patience=5), list[int]()

    async def write(number: int) -> None:
        async with turns.taken():
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(write(number) for number in range(5)))

    assert order == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


async def test_threads_and_coroutines_never_write_together() -> None:
    turns, inside, most = WriteTurns(patience=5), 0, 0

    def in_thread() -> None:
        for _ in range(200):
            with turns.taken_by_thread():
                enter()

    async def in_coroutine() -> None:
        for _ in range(200):
            async with turns.taken():
                enter()

    def enter() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        inside -= 1

    with ThreadPoolExecutor(2) as pool:
        loop = asyncio.get_running_loop()
        threads = [loop.run_in_executor(pool, in_thread) for _ in range(2)]
        await asyncio.gather(*threads, *(in_coroutine() for _ in range(2)))

    assert most == 1


async def test_whoever_waits_too_long_gives_up_and_holds_up_nobody() -> None:
    turns = WriteTurns(patience=0.01)

    async with turns.taken():
        with pytest.raises(DatabaseUnavailable):
            async with turns.taken():
                pass
        with pytest.raises(DatabaseUnavailable):
            await asyncio.to_thread(_take_in_thread, turns)

    async with turns.taken():
        pass
    await asyncio.to_thread(_take_in_thread, turns)


def _take_in_thread(turns: WriteTurns) -> None:
    with turns.taken_by_thread():
        pass


async def test_a_turn_that_is_called_as_it_is_cancelled_is_passed_on() -> None:
    turns = WriteTurns(patience=5)

    async def write() -> None:
        async with turns.taken():
            pass

    async with turns.taken():
        cancelled, next_one = asyncio.create_task(write()), asyncio.create_task(write())
        await asyncio.sleep(0)
    cancelled.cancel()  # the turn is its own already, but it has not been told yet
    await asyncio.wait([cancelled])

    await next_one


def test_a_loop_that_has_ended_holds_up_nobody() -> None:
    turns = WriteTurns(patience=5)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with turns.taken_by_thread():
            entered.set()
            leave.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait()
    loop = asyncio.new_event_loop()
    waiting = turns.taken()
    task = loop.create_task(waiting.__aenter__())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    leave.set()
    holder.join()

    _take_in_thread(turns)
    del task
