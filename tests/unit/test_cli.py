"""The command, as a person at a terminal sees it."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from llm_backend.cli import main
from tests.forks import completed

COMMANDS = (
    "serve",
    "worker",
    "migrate",
    "reindex",
    "rotate-keys",
    "migrate-store",
    "backup",
    "restore",
    "import-old",
    "config",
)
HEAVY = {
    "litestar",
    "sqlalchemy",
    "advanced_alchemy",
    "alembic",
    "asyncpg",
    "lancedb",
    "pyarrow",
    "numpy",
    "httpx",
    "redis",
    "uvicorn",
}


def run(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("LLM_BACKEND__")}
    return completed(*arguments, cwd=folder, env=surroundings | environ)


def from_nothing(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Begun by a Python that has imported nothing yet."""
    command = [sys.executable, "-m", "llm_backend", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(command in shown for command in COMMANDS)


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import contextlib, io, json, sys\n"
        "from llm_backend.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert HEAVY.isdisjoint(json.loads(done.stdout))


def test_help_costs_less_than_half_a_second(tmp_path: Path) -> None:
    """Of the processor: time on the wall belongs to whatever else the machine is doing."""
    before = _time_of_children()

    from_nothing("--help", folder=tmp_path)

    assert _time_of_children() - before < 0.5


def test_version_is_that_of_the_distribution(tmp_path: Path) -> None:
    assert from_nothing("--version", folder=tmp_path).stdout == f"llm-backend {version('llm-backend-api')}\n"


def test_without_a_command_the_usage_is_shown(tmp_path: Path) -> None:
    done = from_nothing(folder=tmp_path)

    assert done.returncode == 2
    assert "usage: llm-backend" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["serve"],
        ["worker"],
        ["migrate"],
        ["reindex"],
        ["rotate-keys"],
        ["config", "check"],
        ["backup", "--to", "somewhere"],
        ["restore", "--from", "something"],
        ["import-old", "--sqlite", "some.db", "--redis", "localhost:1"],
        ["migrate-store", "--from", "config.yaml", "--to", "config.yaml"],
    ],
)
def test_a_wrong_configuration_ends_every_command_with_all_faults(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("server:\n  prot: 1\njwt:\n  secret: short\n", encoding="utf-8")

    done = run(*command, folder=tmp_path)

    assert done.returncode == 2
    assert "config.yaml cannot be used, 2 faults:" in done.stderr
    assert "line 2: server.prot: unknown key; did you mean 'port'?" in done.stderr
    assert "line 4: jwt.secret: has fewer than 32 bytes" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_named_but_missing_is_said_to_be(tmp_path: Path) -> None:
    done = run("serve", "--config", "elsewhere.yaml", folder=tmp_path)

    assert done.returncode == 2
    assert "elsewhere.yaml" in done.stderr


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_wrong_use(port: str, tmp_path: Path) -> None:
    done = run("serve", f"--port={port}", folder=tmp_path)

    assert done.returncode == 2
    assert "must be a port between 0 and 65535" in done.stderr


def test_an_empty_host_is_wrong_use(tmp_path: Path) -> None:
    done = run("serve", "--host", "", folder=tmp_path)

    assert done.returncode == 2
    assert "--host: must name an address" in done.stderr


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["migrate"], ["config", "check"]])
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('sqlite: {path: ":memory:"}', "sqlite.path: must be a file"),
        (r'data_folder: "a\0b"', "data_folder: must not contain the character NUL"),
        (r'jwt: {secret: "\ud83d, and at least thirty-one more bytes"}', "jwt.secret: must not contain half"),
    ],
)
def test_what_nothing_can_be_kept_in_is_refused_by_its_key(
    command: list[str], text: str, fault: str, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")

    done = run(*command, folder=tmp_path)

    assert done.returncode == 2, done.stderr
    assert f"line 1: {fault}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["config", "check"], ["migrate", "--check"]])
@pytest.mark.parametrize("folder", ["data", "data/within"])
def test_a_file_in_place_of_the_data_folder_is_told(command: list[str], folder: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"data_folder: {folder}", encoding="utf-8")
    (tmp_path / "data").touch()

    done = run(*command, folder=tmp_path)

    assert done.returncode == 2
    assert f"data_folder: must be a folder, and {tmp_path / 'data'} is a file" in done.stderr
    assert done.stdout == ""


def test_a_store_is_not_moved_to_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    run("migrate", folder=tmp_path)

    done = run("migrate-store", "--from", "config.yaml", "--to", "config.yaml", folder=tmp_path)

    assert done.returncode == 1
    assert f"Both configurations name SQLite at {tmp_path / 'data' / 'llm_backend.db'}" in done.stderr


def test_checking_tells_who_has_a_key_and_never_which(tmp_path: Path) -> None:
    done = run("config", "check", folder=tmp_path, OPENAI_API_KEY="sk-tell-nobody", ZHIPU_API_KEY="")

    assert done.returncode == 0
    assert "openai: gpt-*, o*, chatgpt-* (has a key)" in done.stdout
    assert "zhipu: glm-* (has no key: each conversation brings its own)" in done.stdout
    assert "tell-nobody" not in done.stdout + done.stderr


def test_pending_migrations_are_listed_with_a_status_of_their_own(tmp_path: Path) -> None:
    before = run("migrate", "--check", folder=tmp_path)
    migrated = run("migrate", folder=tmp_path)
    after = run("migrate", "--check", folder=tmp_path)

    assert (before.returncode, migrated.returncode, after.returncode) == (1, 0, 0)
    assert "20261123_01_first_tables" in before.stdout
    assert after.stdout == "The database is up to date.\n"


def test_checking_shows_where_the_database_is_and_no_password(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://me:tell-nobody@db.example:5433/chats"

    done = run("config", "check", folder=tmp_path, LLM_BACKEND__DATABASE__URL=url)

    assert "PostgreSQL at db.example:5433/chats" in done.stdout
    assert "tell-nobody" not in done.stdout + done.stderr


def test_a_worker_without_others_says_who_does_the_jobs(tmp_path: Path) -> None:
    done = run("worker", folder=tmp_path)

    assert done.returncode == 2
    assert "database.url: is missing" in done.stderr
    assert "`llm-backend serve` does all jobs itself" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [[], ["--concurrency", "0"], ["--concurrency", "-1"]])
def test_a_worker_that_would_do_nothing_does_not_start(options: list[str], tmp_path: Path) -> None:
    environ = {"LLM_BACKEND__DATABASE__URL": "postgresql+asyncpg://me:tell-nobody@127.0.0.1:1/chats"}

    done = run("worker", *options, folder=tmp_path, LLM_BACKEND__JOBS__CONCURRENCY="0", **environ)

    assert done.returncode == 2
    assert "concurrency" in done.stderr
    assert "tell-nobody" not in done.stderr


def test_a_worker_of_less_than_no_jobs_is_wrong_use(tmp_path: Path) -> None:
    done = run("worker", "--concurrency", "-1", folder=tmp_path)

    assert done.returncode == 2
    assert "argument --concurrency: must be a whole number, not negative" in done.stderr


def test_a_database_server_that_is_not_there_ends_a_command_without_a_traceback(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://me:tell-nobody@127.0.0.1:1/chats"

    done = run("migrate", folder=tmp_path, LLM_BACKEND__DATABASE__URL=url)

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "tell-nobody" not in done.stdout + done.stderr


def test_what_has_no_effect_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("rag: {service_addr: 'localhost:50051'}\n", encoding="utf-8")

    done = run("config", "check", folder=tmp_path)

    assert done.returncode == 0
    assert "warning: rag.service_addr is ignored" in done.stderr


def test_a_new_key_seals_and_shows_itself_by_its_id_alone(tmp_path: Path) -> None:
    first = run("rotate-keys", folder=tmp_path)
    second = run("rotate-keys", "--drop-old", "--now", folder=tmp_path)

    keys = (tmp_path / "data" / "secrets.keys").read_text().split()
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "A new key was made" in first.stdout
    assert "is gone" in second.stdout
    assert len(keys) == 1
    assert keys[0] not in first.stdout + second.stdout


def test_a_key_that_may_still_be_needed_is_kept_and_the_command_fails(tmp_path: Path) -> None:
    run("rotate-keys", "--tokens", folder=tmp_path)

    done = run("rotate-keys", "--tokens", "--drop-old", folder=tmp_path)

    assert done.returncode == 1
    assert "too new to drop the old ones: try again in" in done.stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--now"], "--now goes with --drop-old"),
        (["--now", "--seal-only"], "--now goes with --drop-old"),
        (["--tokens", "--seal-only"], "--tokens and --seal-only exclude each other"),
    ],
)
def test_a_rotation_that_makes_no_sense_is_wrong_use(options: list[str], complaint: str, tmp_path: Path) -> None:
    done = run("rotate-keys", *options, folder=tmp_path)

    assert done.returncode == 2
    assert complaint in done.stderr
    assert not (tmp_path / "data").exists()


def test_keys_of_the_configuration_are_not_made_but_used(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"secrets_keys: [{'6e' * 32}, {'6f' * 32}]", encoding="utf-8")

    done = run("rotate-keys", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "A new key" not in done.stdout
    assert done.stdout.count("  0 secrets") == 2
    assert not (tmp_path / "data" / "secrets.keys").exists()


def test_a_signing_secret_of_the_configuration_is_left_to_the_operator(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"jwt: {{secret: {'x' * 32}}}", encoding="utf-8")

    done = run("rotate-keys", "--tokens", folder=tmp_path)

    assert done.returncode == 2
    assert "jwt.previous" in done.stderr


def _time_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system
