import subprocess
import sys
from pathlib import Path

from llm_backend.infrastructure.files.scratch import Scratch

LEAVE_A_FILE = (
    "import sys; from pathlib import Path; from llm_backend.infrastructure.files.scratch import Scratch\n"
    "path = Scratch.open(Path(sys.argv[1])).folder / 'file'; path.write_text('left')\n"
    "print(path, flush=True); sys.stdin.read()"
)


def leaver(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", LEAVE_A_FILE, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def path_of(process: "subprocess.Popen[str]") -> Path:
    assert process.stdout
    return Path(process.stdout.readline().strip())


def test_closing_leaves_nothing(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path)
    (scratch.folder / "file").write_text("left")
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
