"""What is built contains everything of `src`, by the name that is imported, and nothing else."""

import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src"


def files_of_the_source() -> set[str]:
    found = (path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_file())
    return {f"llm_backend/{path.as_posix()}" for path in found if "__pycache__" not in path.parts}


def wheel_of(project: Path, folder: Path) -> Path:
    return Path(next(WheelBuilder(str(project)).build(directory=str(folder), versions=["standard"])))


def sdist_of(project: Path, folder: Path) -> Path:
    return Path(next(SdistBuilder(str(project)).build(directory=str(folder), versions=["standard"])))


def package_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The sources, unpacked from an sdist: what somebody who packages it begins with."""
    with tarfile.open(sdist_of(REPOSITORY, tmp_path)) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    return next((tmp_path / "unpacked").iterdir())


def test_the_wheel_contains_every_file_of_the_source(tmp_path: Path) -> None:
    names = package_files(wheel_of(REPOSITORY, tmp_path))

    assert names == files_of_the_source()
    assert {"llm_backend/py.typed", "llm_backend/domain/errors.py"} <= names


def test_the_wheel_brings_the_command_and_the_licence(tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel_of(REPOSITORY, tmp_path)) as archive:
        named = {name.partition(".dist-info/")[2]: name for name in archive.namelist()}
        entry_points = archive.read(named["entry_points.txt"]).decode()

    assert "llm-backend = llm_backend.cli:main" in entry_points
    assert "licenses/LICENSE" in named


def test_the_wheel_of_an_sdist_is_the_same(project: Path, tmp_path: Path) -> None:
    assert package_files(wheel_of(project, tmp_path)) == files_of_the_source()


def test_the_sdist_contains_what_a_packager_needs(project: Path) -> None:
    wanted = [
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "config.yaml",
        "src/domain/errors.py",
        "tests/conftest.py",
    ]

    assert all((project / name).is_file() for name in wanted)
    assert not (project / "typings").exists()
