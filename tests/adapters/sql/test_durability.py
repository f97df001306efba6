"""What is acknowledged survives: kill -9 here, a power cut by what each connection is told."""

import asyncio
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from llm_backend.application.ports.answer_journal import Part
from llm_backend.domain.answers import AnswerState, Delta, Done
from llm_backend.domain.ids import AnswerId, ConversationId
from llm_backend.infrastructure.sql import SqlStore, migrate_sqlite
from llm_backend.infrastructure.sql.sqlite import connect, create_file, sqlite_engine
from llm_backend.testing.contracts.store import ALICE
from tests.builders import a_message, a_reply

WRITER = Path(__file__).parent / "endless_writer.py"


@pytest.mark.parametrize("lines", [1, 60, 400])
async def test_every_acknowledged_turn_survives_kill_9(path: Path, lines: int) -> None:
    writer = await asyncio.create_subprocess_exec(sys.executable, WRITER, path, stdout=asyncio.subprocess.PIPE)
    assert writer.stdout is not None

    acknowledged = [(await writer.stdout.readline()).decode() for _ in range(lines)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += (await writer.stdout.read()).decode().splitlines(keepends=True)
    await writer.wait()

    async with SqlStore.open(path) as store:
        for line in acknowledged:
            if line.endswith("\n"):  # the kill may cut the last line
                await _is_stored(store, *line.split())
    assert _integrity(path) == [("ok",)]


async def _is_stored(store: SqlStore, what: str, conversation: str, question: str, answer: str) -> None:
    number, id_ = int(question), AnswerId(int(answer))
    thread = await store.conversation_views.thread(ALICE, ConversationId(int(conversation)))
    found = await store.journal.find(ALICE, id_)
    events = [event for _, event in await store.journal.events(id_)]

    assert thread.messages[number - 1] == a_message(number, f"question {answer}")
    if what in {"checkpointed", "finished"}:
        assert events[0] == Delta(f"reply {answer}")
    if what == "finished":
        assert found.state is AnswerState.COMPLETE
        assert thread.messages[number] == a_reply(number + 1, f"reply {answer}")
        assert events == [Delta(f"reply {answer}"), Done()]


def _integrity(path: Path) -> list[tuple[str]]:
    connection = sqlite3.connect(path)
    found = connection.execute("PRAGMA integrity_check").fetchall()
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    return found


async def test_every_connection_waits_for_the_disk_and_checks_references(path: Path, sqlite_store: SqlStore) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}

    plain = connect(path)
    by_thread = {name: plain.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted}
    plain.close()
    engine = sqlite_engine(path)
    async with engine.connect() as connection:
        by_engine = {name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in wanted}
    await engine.dispose()

    assert by_thread == by_engine == wanted


async def test_only_this_user_can_read_the_files(path: Path, sqlite_store: SqlStore) -> None:
    await sqlite_store.journal.checkpoint([Part(AnswerId(1), 1, [Delta("opens the writer")])])

    modes = _modes(path.parent)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def _modes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


def test_the_folder_is_made_for_this_user_alone(path: Path) -> None:
    create_file(path)

    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_database_that_others_could_read_is_closed_to_them(path: Path) -> None:
    async with SqlStore.open(path) as store:
        await store.check()
        for file in await asyncio.to_thread(lambda: list(path.parent.iterdir())):
            await asyncio.to_thread(file.chmod, 0o644)

        await migrate_sqlite(path)

        assert _modes(path.parent) == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


async def test_closing_finishes_what_is_waiting(path: Path) -> None:
    async with SqlStore.open(path) as store:
        pending = [asyncio.create_task(store.journal.forget_events_before(a_message().created_at)) for _ in range(50)]
        await asyncio.sleep(0)

    assert await asyncio.gather(*pending) == [0] * 50
