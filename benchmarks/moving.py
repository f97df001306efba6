"""A store of some size from SQLite to PostgreSQL and back, whole and killed in the middle, with times and memory.

    python -m benchmarks.moving [--scale 0.1]

Needs the binaries of PostgreSQL. Everything is in a temporary folder and on loopback, and ends with the run.
"""

import argparse
import asyncio
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from llm_backend.infrastructure.sql import migrate_sqlite
from tests.servers import PostgresCluster

USERS, CONVERSATIONS, MESSAGES, DOCUMENTS = 1_000, 10_000, 100_000, 2_000
CHUNKS = 5  # of each document
DIMENSIONS = 1024
WHEN = "2026-03-01 12:00:00.000000+00:00"
WORDS = [
    "the",
    "answer",
    "of",
    "every",
    "question",
    "is",
    "in",
    "these",
    "documents",
    "知识库",
    "and",
    "nobody",
    "looks",
]


@dataclass(frozen=True)
class Size:
    users: int
    conversations: int
    messages: int
    documents: int


def fill(file: Path, size: Size) -> None:
    """A store as users would have left it; made by hand, as users would take a year."""
    asyncio.run(migrate_sqlite(file))
    random = Random(7)
    with sqlite3.connect(file) as connection:
        for table, rows in contents(size, random):
            for row in rows:
                marks = ", ".join("?" for _ in row)
                columns = ", ".join(f'"{name}"' for name in row)
                connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(row.values()))
    connection.close()


def contents(size: Size, random: Random) -> Iterator[tuple[str, Iterator[dict[str, object]]]]:
    yield (
        "users",
        (
            {"id": n, "username": f"user-{n}", "password": "$argon2id$", "token_version": 1, "created_at": WHEN}
            for n in range(1, size.users + 1)
        ),
    )
    yield (
        "conversations",
        (
            {
                "id": n,
                "owner": 1 + n % size.users,
                "title": text(random, 4),
                "model": "demo",
                "created_at": WHEN,
                "last_number": size.messages // size.conversations,
            }
            for n in range(1, size.conversations + 1)
        ),
    )
    yield (
        "messages",
        (
            {
                "conversation_id": 1 + n % size.conversations,
                "number": 1 + n // size.conversations,
                "state": "complete",
                "role": "assistant" if n // size.conversations % 2 else "user",
                "text": text(random, 60),
                "created_at": WHEN,
            }
            for n in range(size.messages)
        ),
    )
    yield (
        "knowledge_bases",
        (
            {
                "id": f"kb-{n}",
                "owner": n,
                "name": text(random, 2),
                "embedding_model": "hash-1024",
                "dimensions": DIMENSIONS,
                "created_at": WHEN,
            }
            for n in range(1, size.users + 1)
        ),
    )
    yield (
        "documents",
        (
            {
                "id": f"doc-{n}",
                "knowledge_base_id": f"kb-{1 + n % size.users}",
                "owner": 1 + n % size.users,
                "name": f"{n}.txt",
                "file_type": "txt",
                "size": 5000,
                "sha256": f"{n:064}",
                "state": "ready",
                "attempt": 1,
                "created_at": WHEN,
            }
            for n in range(size.documents)
        ),
    )
    yield (
        "document_texts",
        ({"document_id": f"doc-{n}", "part": 0, "text": text(random, 700)} for n in range(size.documents)),
    )
    yield (
        "chunks",
        (
            {
                "document_id": f"doc-{n}",
                "position": position,
                "start": 0,
                "end": 10,
                "text": text(random, 140),
                "search_text": text(random, 140),
            }
            for n in range(size.documents)
            for position in range(CHUNKS)
        ),
    )
    space = {"embedding_model": "hash-1024", "dimensions": DIMENSIONS}
    yield "embeddings", ({"document_id": f"doc-{n}", **space, "complete": True} for n in range(size.documents))
    vectors = np.random.default_rng(7)
    yield (
        "vectors",
        (
            {
                "document_id": f"doc-{n}",
                "position": position,
                **space,
                "vector": vectors.random(DIMENSIONS, dtype="<f4").tobytes(),
            }
            for n in range(size.documents)
            for position in range(CHUNKS)
        ),
    )


def text(random: Random, words: int) -> str:
    return " ".join(random.choices(WORDS, k=words))


@dataclass(frozen=True)
class Move:
    """Seconds until everything was copied and compared, and then until the index was built; the most memory until
    then, in MiB; what was compared, rows and checksum by table."""

    copied: float
    whole: float
    memory: float
    sums: dict[str, str]


def move(source: Path, target: Path, *, kill_at: str | None = None) -> Move:
    """With `kill_at` it is killed when it says that."""
    command = [sys.executable, "-m", "llm_backend", "migrate-store", "--from", str(source), "--to", str(target)]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines: list[str] = []
    sums: dict[str, str] = {}
    copied = memory = 0.0
    for line in process.stdout:
        lines.append(line)
        if kill_at and line.strip().startswith(kill_at):
            process.send_signal(signal.SIGKILL)
        elif compared := re.fullmatch(r"  (\w+) +(\d+ rows, [0-9a-f]{32})\n", line):
            sums[compared[1]] = compared[2]
            copied, memory = time.monotonic() - began, peak(process.pid)
    status = process.wait()
    assert status == (-signal.SIGKILL if kill_at else 0), "".join(lines)
    return Move(copied, time.monotonic() - began, memory, sums)


def peak(pid: int) -> float:
    """MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def configuration(folder: Path, name: str, url: str = "") -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(f'data_folder: "{folder / name}"\ndatabase: {{url: "{url}"}}\n')
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    scale = parser.parse_args().scale
    size = Size(*(max(10, round(number * scale)) for number in (USERS, CONVERSATIONS, MESSAGES, DOCUMENTS)))
    with tempfile.TemporaryDirectory() as name, PostgresCluster() as cluster:
        measure(Path(name), cluster, size)


def measure(folder: Path, cluster: PostgresCluster, size: Size) -> None:
    first, back, again = (configuration(folder, name) for name in ("first", "back", "again"))
    whole, cut = (configuration(folder, name, make_database(cluster, name)) for name in ("whole", "cut"))
    fill(folder / "first" / "llm_backend.db", size)
    print(f"{size}, {(folder / 'first' / 'llm_backend.db').stat().st_size / 2**20:.0f} MiB in SQLite")

    there = move(first, whole)
    tell("SQLite to PostgreSQL", there, there)
    tell("PostgreSQL to SQLite", move(whole, back), there)
    for source, target, what in ((first, cut, "SQLite to PostgreSQL"), (cut, again, "PostgreSQL to SQLite")):
        killed = move(source, target, kill_at="messages")
        tell(f"{what}, after a kill at {killed.whole:.1f} s", move(source, target), there)


def tell(what: str, done: Move, first: Move) -> None:
    same = "equal" if done.sums == first.sums else "DIFFER"
    print(
        f"{what}: copied and compared in {done.copied:.1f} s with {done.memory:.0f} MiB, "
        f"index {done.whole - done.copied:.1f} s; counts and checksums {same}",
        flush=True,
    )


def make_database(cluster: PostgresCluster, name: str) -> str:
    import asyncpg

    async def create() -> None:
        connection = await asyncpg.connect(cluster.url(scheme="postgresql"))
        await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.close()

    asyncio.run(create())
    return cluster.url(name)


if __name__ == "__main__":
    main()
