import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from llm_backend.infrastructure.parsing.process import ChildProcess

ECHO = [sys.executable, "-c", "import os; os.write(1, os.read(0, 100))"]
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def hooks() -> Iterator[list[str]]:
    """Hooks for forks cannot be taken out again: this one is told to be quiet afterwards."""
    called: list[str] = []
    listening = [True]
    os.register_at_fork(before=lambda: called.append("before") if listening else None)
    yield called
    listening.clear()


async def test_what_is_written_comes_back(tmp_path: Path) -> None:
    process = await ChildProcess.start(ECHO, folder=tmp_path, environment={})

    process.writer.write(b"hello")

    assert await process.reader.read() == b"hello"
    assert await process.wait() == 0
    await process.kill()


async def test_killed_it_is_gone(tmp_path: Path) -> None:
    process = await ChildProcess.start(SLEEP, folder=tmp_path, environment={})

    await process.kill()

    assert not process.is_alive
    assert await process.wait() == -9


def test_no_hooks_for_forks_run_on_uvloop(tmp_path: Path, hooks: list[str]) -> None:
    async def start_and_kill() -> None:
        process = await ChildProcess.start(SLEEP, folder=tmp_path, environment={})
        await process.kill()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(start_and_kill())

    assert hooks == []


async def test_a_command_that_is_not_there_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        await ChildProcess.start([str(tmp_path / "nothing")], folder=tmp_path, environment={})
