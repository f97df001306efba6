from pathlib import Path

import pytest

from llm_backend.application.originals import scratch_file


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_scratch_file_is_empty_and_private_and_gone_afterwards(tmp_path: Path) -> None:
    async with scratch_file(tmp_path) as path:
        assert path.read_bytes() == b""
        assert path.stat().st_mode & 0o777 == 0o600
        path.write_bytes(b"content")

    assert not path.exists()


async def test_it_is_gone_after_an_error_too_and_may_be_moved_away(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with scratch_file(tmp_path):
            raise ZeroDivisionError
    async with scratch_file(tmp_path) as moved:
        moved.rename(tmp_path / "elsewhere")

    assert names_in(tmp_path) == ["elsewhere"]
