import asyncio
import logging
import os
from datetime import timedelta
from pathlib import Path

import pytest

from llm_backend.application.ports.key_ring import KeyRing
from llm_backend.infrastructure.security.key_ring import FileKeyRing, FixedKeyRing, key_id, watched
from llm_backend.infrastructure.security.keys import KeyFileUnusable
from llm_backend.testing.contracts.key_ring import KeyRingContract

ONE, TWO = b"1" * 32, b"2" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


class TestFileKeyRing(KeyRingContract):
    @pytest.fixture
    def ring(self, path: Path) -> KeyRing:
        return FileKeyRing(path, 32)

    @pytest.fixture
    def same_ring(self, ring: KeyRing, path: Path) -> KeyRing:
        return FileKeyRing(path, 32)


def replace(path: Path, text: str) -> None:
    """As editors and orchestrators do."""
    draft = path.with_name("draft")
    draft.write_text(text)
    draft.chmod(0o600)
    draft.replace(path)


def test_keys_are_the_same_object_until_the_file_is_another(path: Path) -> None:
    ring = FileKeyRing(path, 32)
    before = ring.known

    assert ring.current() is before
    replace(path, ONE.hex())
    assert ring.known is before
    assert ring.current() == ring.known == (ONE,)


def test_a_file_that_is_written_over_is_noticed_too(path: Path) -> None:
    ring = FileKeyRing(path, 32)

    path.write_text(f"{ONE.hex()}\n{TWO.hex()}\n")

    assert ring.current() == (ONE, TWO)


@pytest.mark.parametrize("trouble", ["away", "broken", "empty", "open to everybody"])
def test_trouble_with_the_file_leaves_the_keys_and_is_told_once(
    path: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    ring = FileKeyRing(path, 32)
    before = ring.known
    match trouble:
        case "away":
            path.unlink()
        case "broken":
            replace(path, "ff" * 31)
        case "empty":
            replace(path, "")
        case _:
            replace(path, ONE.hex())
            path.chmod(0o644)

    with caplog.at_level(logging.ERROR):
        assert ring.current() is ring.current() is before

    assert [record.levelname for record in caplog.records] == ["ERROR"]
    replace(path, TWO.hex())
    assert ring.current() == (TWO,)


def test_a_file_that_is_broken_at_the_start_is_refused(path: Path) -> None:
    replace(path, "broken")

    with pytest.raises(KeyFileUnusable):
        FileKeyRing(path, 32)


def test_keys_of_the_configuration_come_last_and_are_not_in_the_file(path: Path) -> None:
    ring = FileKeyRing(path, 32, also=[ONE])

    new = ring.add()

    assert key_id(ring.current()[0]) == new
    assert ring.current()[-1] == ONE
    assert key_id(ONE) not in ring.key_ids()


def test_a_ring_is_as_old_as_its_last_change(path: Path) -> None:
    ring = FileKeyRing(path, 32, now=lambda: 10_000.0)

    os.utime(path, (9_000.0, 9_000.0))
    assert ring.unchanged_for() == timedelta(seconds=1000)
    os.utime(path, (11_000.0, 11_000.0))
    assert ring.unchanged_for() == timedelta(0)


@pytest.mark.parametrize("keys", [[], [b""], [b"k" * 31], [ONE, b"k"]])
def test_keys_that_are_too_short_or_none_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        FixedKeyRing(keys, 32)


def test_a_key_that_stands_twice_is_one_key() -> None:
    assert FixedKeyRing([ONE, TWO, ONE], 32).current() == (ONE, TWO)


def test_an_id_does_not_tell_the_key() -> None:
    assert key_id(ONE) != key_id(TWO)
    assert ONE.hex() not in key_id(ONE)


async def test_a_watch_looks_again_and_again_and_ends_with_its_block() -> None:
    looks: list[int] = []
    twice = asyncio.Event()

    def look() -> None:
        looks.append(1)
        if len(looks) == 2:
            twice.set()

    async with watched(look, timedelta(0)):
        await twice.wait()

    seen = len(looks)
    await asyncio.sleep(0)
    assert len(looks) == seen
