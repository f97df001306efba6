import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_backend.infrastructure.security.keys import (
    KeyFileUnusable,
    add_key,
    drop_keys,
    load_ring,
    make_if_missing,
    put_key_file,
)


def load_or_create_keys(path: Path, size: int) -> list[bytes]:
    make_if_missing(path, size)
    return list(load_ring(path, size))


def load_or_create_key(path: Path, size: int) -> bytes:
    [key] = load_or_create_keys(path, size)
    return key


def test_a_key_is_made_once_and_stays(tmp_path: Path) -> None:
    first = load_or_create_key(tmp_path / "a" / "key", 32)

    assert len(first) == 32
    assert load_or_create_key(tmp_path / "a" / "key", 32) == first


def test_two_files_hold_two_keys(tmp_path: Path) -> None:
    assert load_or_create_key(tmp_path / "a", 32) != load_or_create_key(tmp_path / "b", 32)


def test_only_its_owner_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create_key(tmp_path / "a" / "key", 32)
    finally:
        os.umask(before)

    assert (tmp_path / "a" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    load_or_create_key(tmp_path / "key", 32)

    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    load_or_create_key(tmp_path / "key", 32)
    (tmp_path / "key").chmod(0o644)

    with pytest.raises(KeyFileUnusable, match="chmod 600"):
        load_or_create_key(tmp_path / "key", 32)


def test_a_key_that_a_group_can_read_is_used_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = load_or_create_key(tmp_path / "key", 32)
    (tmp_path / "key").chmod(0o640)

    with caplog.at_level(logging.WARNING):
        assert load_or_create_key(tmp_path / "key", 32) == key

    assert "can be read by its group" in caplog.text
    assert key.hex() not in caplog.text


@pytest.mark.parametrize("content", [b"", b"00" * 31, b"00" * 33, b"zz" * 32, b"\xff" * 64])
def test_a_file_that_is_no_key_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyFileUnusable, match=r"no key|not"):
        load_or_create_key(path, 32)

    assert path.read_bytes() == content


def a_ring(folder: Path, content: bytes) -> Path:
    path = folder / "keys"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_ring_is_made_with_one_key_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "a" / "keys"

    first = load_or_create_keys(path, 32)

    assert [len(key) for key in first] == [32]
    assert load_or_create_keys(path, 32) == first
    assert path.read_text() == f"{first[0].hex()}\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_above_the_others_is_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    [old] = load_or_create_keys(path, 32)
    path.write_text(f"{b'n'.hex() * 32}\n{path.read_text()}")

    assert load_or_create_keys(path, 32) == [b"n" * 32, old]


def test_a_ring_may_have_comments_blank_lines_and_any_line_ends(tmp_path: Path) -> None:
    path = a_ring(tmp_path, b"# since May, d\xc3\xa9j\xc3\xa0\r\n6e6e # new\r\n\r\n  6F6F\n\n# 7070")

    assert load_or_create_keys(path, 2) == [b"nn", b"oo"]


@pytest.mark.parametrize("wrong", [b"6e", b"6e6e6e", b"zzzz", b"6e6", b"\xff\xfe\xff\xfe", b"hush"])
def test_the_wrong_line_of_a_ring_is_named_and_not_shown(tmp_path: Path, wrong: bytes) -> None:
    path = a_ring(tmp_path, b"# comment\n6e6e\n" + wrong + b"\n6f6f\n")

    with pytest.raises(KeyFileUnusable, match="keys, line 3, is not") as caught:
        load_or_create_keys(path, 2)

    assert wrong.decode("utf-8", "replace") not in str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# 6e6e\n"])
def test_a_ring_without_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(KeyFileUnusable, match="has no key"):
        load_or_create_keys(a_ring(tmp_path, content), 2)


def test_a_ring_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    path = a_ring(tmp_path, b"6e6e")
    path.chmod(0o644)

    with pytest.raises(KeyFileUnusable, match="chmod 600"):
        load_or_create_keys(path, 2)


WITHOUT_LINKS = """
import os
def link(*_):
    raise PermissionError(1, "Operation not permitted")
os.link = link
"""


@pytest.mark.parametrize("prelude", ["", WITHOUT_LINKS], ids=["links", "no links"])
def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path, prelude: str) -> None:
    script = (
        f"{prelude}\n"
        "import sys; from pathlib import Path\n"
        "from llm_backend.infrastructure.security.keys import load_ring, make_if_missing\n"
        "sys.stdin.readline(); path = Path(sys.argv[1]); make_if_missing(path, 32); print(load_ring(path, 32)[0].hex())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "key")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(4)
    ]

    for process in processes:  # all are past their imports, or will find the line waiting
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=60)[0] for process in processes}

    assert len(keys) == 1
    assert keys.pop().strip() == (tmp_path / "key").read_text().strip()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_new_key_comes_first_and_leaves_the_rest_of_the_file_as_it_was(tmp_path: Path) -> None:
    path = a_ring(tmp_path, b"# ours\n6e6e # from May\n\n6f6f")

    new = add_key(path, 2)

    assert path.read_text() == f"{new.hex()}\n# ours\n6e6e # from May\n\n6f6f"
    assert load_ring(path, 2) == [new, b"nn", b"oo"]


def test_dropping_keys_takes_out_their_lines_alone(tmp_path: Path) -> None:
    path = a_ring(tmp_path, b"# ours\n6e6e\n6F6f # from May\n7070\n")

    drop_keys(path, 2, [b"oo", b"xx"])

    assert path.read_text() == "# ours\n6e6e\n7070\n"


def test_a_file_that_is_replaced_keeps_its_mode_and_its_owner_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = a_ring(tmp_path, b"6e6e\n")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 54321)
    before = path.stat()

    add_key(path, 2)

    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


def test_a_link_to_the_keys_stays_a_link(tmp_path: Path) -> None:
    path = a_ring(tmp_path, b"6e6e\n")
    link = tmp_path / "link"
    link.symlink_to(path)

    new = add_key(link, 2)

    assert link.is_symlink()
    assert load_ring(path, 2) == [new, b"nn"]


def test_a_broken_ring_gets_no_new_key(tmp_path: Path) -> None:
    path = a_ring(tmp_path, b"6e6e\nbroken\n")

    with pytest.raises(KeyFileUnusable, match="line 2"):
        add_key(path, 2)

    assert path.read_text() == "6e6e\nbroken\n"


def test_keys_that_come_from_somewhere_else_are_for_their_owner_alone(tmp_path: Path) -> None:
    put_key_file(tmp_path / "keys", b"ab" * 32)
    put_key_file(tmp_path / "keys", b"ab" * 32)

    assert load_ring(tmp_path / "keys", 32) == [bytes.fromhex("ab" * 32)]
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


def test_keys_that_are_there_already_are_not_overwritten(tmp_path: Path) -> None:
    make_if_missing(tmp_path / "keys", 32)
    before = (tmp_path / "keys").read_bytes()

    with pytest.raises(KeyFileUnusable, match="move it away"):
        put_key_file(tmp_path / "keys", b"ab" * 32)

    assert (tmp_path / "keys").read_bytes() == before
