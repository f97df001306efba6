"""Threads that carry out what coroutines wait for."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from llm_backend.infrastructure.sql.worker import Failure, Workers


class Recorder:
    """Doubles numbers; waits before the first batch until it is let go, so that tasks pile up behind it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[list[int]] = []
        self.closed_in: str | None = None

    def carry_out(self, tasks: Sequence[int]) -> Sequence[object]:
        self.go.wait()
        self.batches.append(list(tasks))
        if 13 in tasks:
            raise ZeroDivisionError
        return [Failure(KeyError(task)) if task < 0 else 2 * task for task in tasks]

    def close(self) -> None:
        self.closed_in = threading.current_thread().name


async def test_what_has_piled_up_is_carried_out_together_in_order() -> None:
    recorder = Recorder()
    workers: Workers[int] = Workers("worker", lambda: recorder, threads=1, most=4)

    tasks = [asyncio.create_task(workers.do(number)) for number in range(9)]
    await asyncio.sleep(0)
    recorder.go.set()
    results = await asyncio.gather(*tasks)
    await workers.close()

    assert results == [2 * number for number in range(9)]
    assert [number for batch in recorder.batches for number in batch] == list(range(9))
    assert max(map(len, recorder.batches)) == 4
    assert recorder.closed_in == "worker-0"


async def test_a_failure_is_raised_where_it_belongs() -> None:
    recorder = Recorder()
    recorder.go.set()
    workers: Workers[int] = Workers("worker", lambda: recorder, threads=1, most=4)

    results = await asyncio.gather(workers.do(1), workers.do(-1), workers.do(2), return_exceptions=True)
    await workers.close()

    assert [type(result) for result in results] == [int, KeyError, int]


async def test_a_thread_survives_whatever_its_hand_raises() -> None:
    recorder = Recorder()
    recorder.go.set()
    workers: Workers[int] = Workers("worker", lambda: recorder, threads=1, most=1)

    with pytest.raises(ZeroDivisionError):
        await workers.do(13)

    assert await workers.do(1) == 2
    await workers.close()
