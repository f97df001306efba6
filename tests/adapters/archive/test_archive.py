"""Archives: whole or not at all, and nothing of a damaged one is believed."""

import errno
import gzip
import io
import os
import stat
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from llm_backend.infrastructure.archive.form import MANIFEST, SEAL, ArchiveDamaged
from llm_backend.infrastructure.archive.reading import Member, checked, members
from llm_backend.infrastructure.archive.writing import ArchiveWriter

CONTENTS = {"tables/users/1": b"some rows", "tables/users/2": b"", "files/a/1": bytes(range(256)) * 100}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "backup.tar.gz"
    with ArchiveWriter.open(path) as writer:
        for name, content in CONTENTS.items():
            writer.add(name, content)
        writer.close({"said": "something"})
    return path


def rewritten(path: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> Path:
    """The same archive with other members, and with sums of gzip and tar that are right."""
    target = path.with_name("rewritten.tar.gz")
    with tarfile.open(path) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            for name, content in change(member.name, file.read()):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))
    return target


def test_what_was_put_in_comes_out_in_its_order(archive: Path) -> None:
    manifest = checked(archive)

    assert manifest.about == {"said": "something"}
    assert list(members(archive)) == [Member(name, content) for name, content in CONTENTS.items()]


def test_only_its_owner_can_read_it(archive: Path) -> None:
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600


def test_nothing_is_overwritten_and_nothing_is_left_of_the_attempt(archive: Path) -> None:
    before = archive.read_bytes()

    with pytest.raises(FileExistsError, match="not overwritten"), ArchiveWriter.open(archive) as writer:
        writer.close({})

    assert archive.read_bytes() == before
    assert list(archive.parent.iterdir()) == [archive]


@pytest.fixture(params=["links", "no links"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One like the usual, or like FAT."""
    if request.param == "no links":
        monkeypatch.setattr(os, "link", no_links)


def no_links(*_: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.usefixtures("file_system")
def test_it_is_whole_and_alone_on_any_file_system(archive: Path) -> None:
    assert list(checked(archive).members) == list(CONTENTS)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert list(archive.parent.iterdir()) == [archive]


@pytest.mark.usefixtures("file_system")
def test_one_that_appears_meanwhile_is_not_overwritten_either(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar.gz"

    def write() -> None:
        with ArchiveWriter.open(path) as writer:
            writer.close({})
            path.write_bytes(b"somebody else's")

    with pytest.raises(FileExistsError, match="not overwritten"):
        write()

    assert path.read_bytes() == b"somebody else's"
    assert list(tmp_path.iterdir()) == [path]


def test_one_that_failed_half_way_never_has_its_name(tmp_path: Path) -> None:
    def fail() -> None:
        with ArchiveWriter.open(tmp_path / "backup.tar.gz") as writer:
            writer.add("tables/users/1", b"some rows")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_one_without_an_end_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar.gz"
    with ArchiveWriter.open(path) as writer:
        writer.add("tables/users/1", b"some rows")

    with pytest.raises(ArchiveDamaged):
        checked(path)


def test_wherever_it_is_cut_off_it_is_damaged(archive: Path, tmp_path: Path) -> None:
    whole, cut = archive.read_bytes(), tmp_path / "cut.tar.gz"

    for length in range(0, len(whole), max(1, len(whole) // 40)):
        cut.write_bytes(whole[:length])
        with pytest.raises(ArchiveDamaged):
            checked(cut)


def test_wherever_a_bit_has_changed_it_is_damaged_or_means_the_same(archive: Path, tmp_path: Path) -> None:
    """Some bits of the compressed form have no meaning."""
    whole, changed = archive.read_bytes(), tmp_path / "changed.tar.gz"

    harmless = 0
    for place in range(10, len(whole), max(1, len(whole) // 40)):  # before that: a time and the like
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            checked(changed)
        except ArchiveDamaged:
            continue
        harmless += 1
        assert gzip.decompress(changed.read_bytes()) == gzip.decompress(whole)

    assert harmless < 10


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no archive" * 1000, mtime=0)],
    ids=["nothing", "text", "compressed text"],
)
def test_something_else_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "something"
    path.write_bytes(content)

    with pytest.raises(ArchiveDamaged):
        checked(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda name, content: [] if name == "tables/users/1" else [(name, content)],
        lambda name, content: [(name, content)] * (2 if name == "tables/users/1" else 1),
        lambda name, content: [(name, content.replace(b"rows", b"ROWS"))],
        lambda name, content: [(name.replace("users", "../../etc"), content)],
        lambda name, content: [] if name == MANIFEST else [(name, content)],
        lambda name, content: [] if name == SEAL else [(name, content)],
        lambda name, content: [(name, content.replace(b"something", b"anything!"))],
        lambda name, content: [(name, content), ("keys/more", b"")] if name == "files/a/1" else [(name, content)],
    ],
)
def test_what_was_packed_again_with_other_members_is_damaged(
    archive: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]]
) -> None:
    with pytest.raises(ArchiveDamaged):
        checked(rewritten(archive, change))


def test_links_are_damage(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "links.tar.gz"
    with tarfile.open(path, "w:gz") as new:
        link = tarfile.TarInfo("tables/users/1")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        new.addfile(link)

    with pytest.raises(ArchiveDamaged):
        checked(path)


def resealed(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """The same archive with another manifest, and the right seal for it."""
    manifest = b""

    def exchanged(name: str, content: bytes) -> list[tuple[str, bytes]]:
        nonlocal manifest
        if name == MANIFEST:
            manifest = change(content)
            return [(name, manifest)]
        if name == SEAL:
            return [(name, sha256(manifest).hexdigest().encode())]
        return [(name, content)]

    return rewritten(path, exchanged)


def test_a_form_of_the_future_is_said_to_be_one(archive: Path) -> None:
    newer = resealed(archive, lambda manifest: msgspec.json.encode(msgspec.json.decode(manifest) | {"format": 2}))

    with pytest.raises(ArchiveDamaged, match="newer version"):
        checked(newer)


@pytest.mark.parametrize("manifest", [b"", b"[]", b'{"format":1,"about":{"a":"\xff"}}', b'{"about":' + b"[" * 10_000])
def test_a_manifest_that_cannot_be_read_is_damage(archive: Path, manifest: bytes) -> None:
    with pytest.raises(ArchiveDamaged):
        checked(resealed(archive, lambda _: manifest))
