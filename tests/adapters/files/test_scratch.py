import subprocess
import sys
from pathlib import Path

import pytest

from llm_backend.infrastructure.files.scratch import Scratch

LEAVE_A_FILE = (
    "import sys; from pathlib import Path; from llm_backend.infrastructure.files.scratch import Scratch\n"
    "file = Scratch.open(Path(sys.argv[1])).new_file(); path = file.__enter__(); path.write_text('left')\n"
    "print(path, flush=True); sys.stdin.read()"
)


def leaver(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", LEAVE_A_FILE, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def path_of(process: "subprocess.Popen[str]") -> Path:
    assert process.stdout
    return Path(process.stdout.readline().strip())


def test_a_new_file_is_empty_and_private_and_gone_afterwards(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path / "scratch")

    with scratch.new_file(suffix=".pdf") as path:
        assert path.read_bytes() == b""
        assert path.suffix == ".pdf"
        assert path.stat().st_mode & 0o777 == 0o600
        path.write_bytes(b"content")

    assert not path.exists()
    scratch.close()


def test_it_is_gone_after_an_error_too_and_may_be_moved_away(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path)

    with pytest.raises(ZeroDivisionError), scratch.new_file() as lost:
        raise ZeroDivisionError
    with scratch.new_file() as moved:
        moved.rename(tmp_path / "elsewhere")

    assert not lost.exists()
    assert (tmp_path / "elsewhere").exists()
    scratch.close()


def test_closing_leaves_nothing(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path)
    with scratch.new_file():
        scratch.close()

    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_what_the_dead_left_is_cleared_away_and_the_living_keep_theirs(tmp_path: Path) -> None:
    with leaver(tmp_path) as dead, leaver(tmp_path) as living:
        left, kept = path_of(dead), path_of(living)
        dead.kill()
        dead.wait()

        Scratch.open(tmp_path).close()

        assert not left.parent.exists()
        assert kept.read_text() == "left"
        living.kill()

    Scratch.open(tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "run-of-the-mill.txt").write_text("mine")

    Scratch.open(tmp_path).close()

    assert {path.name for path in tmp_path.iterdir()} == {".lock", "notes.txt", "run-of-the-mill.txt"}
