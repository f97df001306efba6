import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_backend.infrastructure.files.folders import make_private
from llm_backend.infrastructure.files.lock import lock_folder
from llm_backend.infrastructure.files.scratch import Scratch


@pytest.fixture(autouse=True)
def generous_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_all_that_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")

    assert [mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")] == [0o700, 0o700]


def test_what_was_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o755)

    make_private(tmp_path / "a")
    make_private(tmp_path / "a" / "b")

    assert [mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")] == [0o755, 0o700]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="file"):
        make_private(tmp_path / "file" / "folder")


def test_the_folders_of_locks_and_uploads_are_private(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "data"):
        scratch = Scratch.open(tmp_path / "other" / "uploads")

    assert [mode_of(tmp_path / name) for name in ("data", "other", "other/uploads")] == [0o700] * 3
    scratch.close()
