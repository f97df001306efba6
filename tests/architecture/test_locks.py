"""The locks pin everything that is wanted, and leave it to the installer where that comes from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME, DEVELOPMENT, CLIENTS = "requirements.lock", "requirements-dev.lock", "requirements-clients.lock"


def pins(lock: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package; of several versions, for several systems, the last."""
    text = (REPOSITORY / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    matches = [re.match(r"([A-Za-z0-9._-]+)(?:\[.*?\])?==([^\s;]+)", line) for line in lines]
    assert all(matches), "every line pins one version"
    found = zip(matches, lines, strict=True)
    return {canonicalize_name(match[1]): (match[2], line.count("--hash=sha256:")) for match, line in found if match}


def wanted(*groups: str) -> list[Requirement]:
    """What the project depends on, and what its groups add."""
    return [Requirement(text) for text in PROJECT["project"]["dependencies"]] + named(*groups)


def named(*groups: str) -> list[Requirement]:
    entries = [entry for group in groups for entry in PROJECT["dependency-groups"][group] if isinstance(entry, str)]
    return [Requirement(text) for text in entries]


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT, CLIENTS])
def test_no_lock_names_an_address_or_an_index(lock: str) -> None:
    text = (REPOSITORY / lock).read_text(encoding="utf-8")

    assert not re.findall(
        r"\w+://|\w+\s@\s|--(?:extra-)?index|--find-links|--trusted-host|^-[if]\b", text, re.MULTILINE
    )


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT, CLIENTS])
def test_every_pin_has_its_hashes(lock: str) -> None:
    assert not [name for name, (_, hashes) in pins(lock).items() if hashes == 0]


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [(RUNTIME, wanted("build")), (DEVELOPMENT, wanted("build", "dev")), (CLIENTS, named("clients"))],
    ids=[RUNTIME, DEVELOPMENT, CLIENTS],
)
def test_every_dependency_is_locked_at_a_version_that_fits(lock: str, requirements: list[Requirement]) -> None:
    locked = pins(lock)

    for requirement in requirements:
        version, _ = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_both_locks_agree() -> None:
    development = pins(DEVELOPMENT)

    assert {name: development.get(name) for name in pins(RUNTIME)} == pins(RUNTIME)


def test_the_runtime_lock_is_free_of_the_developers_tools() -> None:
    assert {"pytest", "mypy", "pyright", "ruff", "hypothesis"}.isdisjoint(pins(RUNTIME))


def test_no_tool_that_records_addresses_has_left_its_lock() -> None:
    assert "uv.lock" in (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_lock_of_the_clients_for_node_names_no_registry() -> None:
    lock = (REPOSITORY / "tests" / "clients" / "node" / "package-lock.json").read_text(encoding="utf-8")

    assert '"resolved"' not in lock
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/')
