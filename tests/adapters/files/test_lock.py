import subprocess
import sys
from pathlib import Path

import pytest

from llm_backend.infrastructure.files.lock import FileLock, InUse, lock_database, lock_folder

HOLD = (
    "import sys; from pathlib import Path; from llm_backend.infrastructure.files.lock import lock_folder\n"
    "lock = lock_folder(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
)


def test_a_folder_is_made_and_locked(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()


def test_a_second_one_in_the_same_process_is_turned_away(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(InUse, match="in use by another server"):
        lock_folder(tmp_path)


def test_a_released_folder_can_be_locked_again(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path)
    lock.release()
    lock.release()

    with lock_folder(tmp_path):
        pass


def test_another_process_keeps_it_until_it_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(InUse):
            lock_folder(tmp_path)
        holder.kill()

    with lock_folder(tmp_path):
        pass


def test_a_database_is_locked_by_a_hidden_file_beside_it(tmp_path: Path) -> None:
    with lock_database(tmp_path / "a" / "llm.db"):
        assert [path.name for path in (tmp_path / "a").iterdir()] == [".llm.db.lock"]


def test_a_database_is_the_same_under_every_name(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "llm.db")

    with lock_database(tmp_path / "llm.db"), pytest.raises(InUse, match=r"link\.db is in use by another server"):
        lock_database(tmp_path / "link.db")


def test_two_databases_and_their_folder_are_three_things(tmp_path: Path) -> None:
    with lock_folder(tmp_path), lock_database(tmp_path / "a.db"), lock_database(tmp_path / "b.db"):
        pass


def test_waiting_for_a_free_lock_is_no_wait(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock", wait=True):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
