"""Data as the old product writes it."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

PASSWORD = "SecureP@ssw0rd!"
HASH = "$2a$10$" + "C6UzMDM.H6dfI/f/IKxGhu" + "0123456789abcdefghijklmnopqrstu"  # of nothing; its form is right

_TABLES = """
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT UNIQUE NOT NULL, password TEXT NOT NULL);
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, user_id INTEGER NOT NULL, create_time INTEGER,
    FOREIGN KEY(user_id) REFERENCES users(id) ON DELETE CASCADE
);
"""


def make_old_database(
    file: Path,
    *,
    users: Sequence[tuple[int, str, object]] = (),
    conversations: Sequence[tuple[str, str, int, object]] = (),
) -> None:
    """`users` are id, name and hash; `conversations` are id, title, owner and time."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(_TABLES)
        connection.executemany("INSERT INTO users VALUES (?, ?, ?)", users)
        connection.executemany("INSERT INTO conversations VALUES (?, ?, ?, ?)", conversations)


def old_record(
    number: int, *said: str, title: str = "From Redis", model: str = "gpt-4o", api_key: str = "sk-old"
) -> bytes:
    """A conversation as it is in Redis; `said` are texts such as `user: Hello`."""
    parts = [line.partition(": ") for line in said]
    messages = [{"role": role, "content": text, "message_id": n} for n, (role, _, text) in enumerate(parts)]
    record = {
        "conversation_id": number,
        "title": title,
        "model": model,
        "api_key": api_key,
        "messages": messages,
        "created_time": 1731851729,
    }
    return json.dumps(record, ensure_ascii=False).encode()
