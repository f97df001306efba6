"""`llm-backend keys`, as whoever runs a server uses it, beside the server."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_backend import Backend, Settings, open_backend
from llm_backend.domain.api_keys import Scope
from llm_backend.domain.errors import Unauthenticated
from tests.forks import completed

CONFIG = "data_folder: ./data\n"


def keys(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return completed("keys", *arguments, "--config", str(folder / "config.yaml"), cwd=folder)


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    """Running meanwhile, on the same database; alice is registered there."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    async with open_backend(Settings(data_folder=tmp_path / "data")) as backend:
        await backend.register_user("alice", "correct horse")
        yield backend


async def test_a_key_is_made_listed_and_killed_while_a_server_runs(backend: Backend, tmp_path: Path) -> None:
    made = keys(tmp_path, "create", "--user", "alice", "--name", "laptop", "--scope", "chat", "--days", "1")
    secret = made.stdout.strip()
    access = await backend.authorize(secret)
    listed = keys(tmp_path, "list", "--user", "alice").stdout

    assert made.returncode == 0, made.stderr
    assert access.scopes == {Scope.CHAT}
    assert access.key is not None
    assert listed.startswith(f"{access.key}  {secret[:11]}…  chat  until ")
    assert listed.endswith("  never used  laptop\n")
    assert secret not in listed

    killed = keys(tmp_path, "delete", "--user", "alice", access.key)

    assert killed.returncode == 0, killed.stderr
    with pytest.raises(Unauthenticated):
        await backend.authorize(secret)
    assert keys(tmp_path, "list", "--user", "alice").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["create", "--user", "nobody", "--name", "laptop"], "no user by this name"),
        (["create", "--user", "alice", "--name", "laptop", "--scope", "everything"], "'everything' is no scope"),
        (["create", "--user", "alice", "--name", "laptop", "--days", "-1"], "key"),
        (["create", "--user", "alice", "--name", "laptop", "--days", "99999999999"], "before the year 10000"),
        (["create", "--user", "alice", "--name", "laptop", "--days", "3000000"], "before the year 10000"),
        (["create", "--user", "alice", "--name", ""], "name"),
        (["list", "--user", "nobody"], "no user by this name"),
        (["delete", "--user", "alice", "no-such-key"], "key"),
    ],
)
@pytest.mark.usefixtures("backend")
def test_what_cannot_be_done_is_said_in_one_line(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    done = keys(tmp_path, *arguments)

    assert done.returncode != 0
    assert complaint.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert not done.stdout
