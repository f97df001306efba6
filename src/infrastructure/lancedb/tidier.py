"""The process that puts a large table in order: `python -m llm_backend.infrastructure.lancedb.tidier`.

It reads one line, the task, from its standard input, and goes when that ends: with the server that has started it.
"""

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from threading import Thread

import msgspec

from llm_backend.infrastructure.lancedb.tidying import Task

NICENESS = 10
STDIN = 0


def main() -> None:
    task = msgspec.json.decode(os.fdopen(STDIN, "rb", buffering=0, closefd=False).readline(), type=Task)
    Thread(target=_go_with_the_server, daemon=True).start()
    with suppress(AttributeError, OSError):  # Windows has no such thing
        os.nice(NICENESS)
    asyncio.run(_tidy(task))


def _go_with_the_server() -> None:
    os.read(STDIN, 1)  # not through `sys.stdin`, whose lock a thread must not hold at the end
    os._exit(1)


async def _tidy(task: Task) -> None:
    from llm_backend.infrastructure.lancedb.database import connect
    from llm_backend.infrastructure.lancedb.table import PassageTable

    connection = await connect(task.uri, task.storage_options)
    if table := await PassageTable.find(connection, task.table, timedelta(seconds=task.kept_versions)):
        await table.optimize()


if __name__ == "__main__":
    main()
