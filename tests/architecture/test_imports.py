"""The layers hold, and each contract that says so notices when it is broken."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src"
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
]
FRAMEWORKS = next(contract["forbidden_modules"] for contract in CONTRACTS if contract["id"] == "core")

# What breaks a contract: its id, and the modules to add, each with what it says.
PLANTS = [
    ("layers", {"domain/planted.py": "import llm_backend.application"}),
    ("layers", {"application/planted.py": "import llm_backend.infrastructure"}),
    ("layers", {"application/planted.py": "import llm_backend.config"}),
    ("layers", {"interface/planted.py": "import llm_backend.infrastructure"}),
    ("layers", {"infrastructure/planted.py": "import llm_backend.interface"}),
    ("layers", {"infrastructure/planted.py": "import llm_backend.config"}),
    ("layers", {"testing/planted.py": "import llm_backend.infrastructure.memory"}),
    ("layers", {"config/planted.py": "import llm_backend.cli"}),
    ("layers", {"stray.py": ""}),
    *(("core", {"domain/planted.py": f"import {name}"}) for name in FRAMEWORKS[::2]),
    *(("core", {"application/planted.py": f"import {name}"}) for name in FRAMEWORKS[1::2]),
    ("adapters", {"infrastructure/memory/planted.py": "import llm_backend.infrastructure.llm"}),
    ("adapters", {"infrastructure/llm/planted.py": "import llm_backend.infrastructure.memory"}),
    ("adapters", {"infrastructure/codec/planted.py": "import llm_backend.infrastructure.sql"}),
    (
        "rows",
        {
            "infrastructure/sql/rows.py": "",
            "infrastructure/memory/planted.py": "import llm_backend.infrastructure.sql.rows",
        },
    ),
    (
        "rows",
        {"infrastructure/sql/rows.py": "", "config/planted.py": "from llm_backend.infrastructure.sql import rows"},
    ),
    ("cycles", {"domain/one.py": "import llm_backend.domain.two", "domain/two.py": "import llm_backend.domain.one"}),
]


def check(contract: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Check one contract on the package in a folder."""
    return subprocess.run(
        [
            *(sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"),
            *("--no-cache", "--no-logo", f"--config={REPOSITORY / 'pyproject.toml'}", f"--contract={contract}"),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("contract", [contract["id"] for contract in CONTRACTS])
def test_every_contract_is_kept(contract: str) -> None:
    done = check(contract, REPOSITORY / "typings")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("contract", "plant"), PLANTS, ids=lambda value: value if isinstance(value, str) else list(value.values())[-1]
)
def test_every_contract_notices_when_it_is_broken(contract: str, plant: dict[str, str], tmp_path: Path) -> None:
    copy = tmp_path / "llm_backend"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in plant.items():
        path = copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(f"{text}\n", encoding="utf-8")

    done = check(contract, tmp_path)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "0 kept, 1 broken" in done.stdout or "not listed as layers" in done.stdout


def test_no_contract_is_without_a_violation_that_breaks_it() -> None:
    assert {contract["id"] for contract in CONTRACTS} == {contract for contract, _ in PLANTS}


@pytest.mark.parametrize("layer", ["domain", "application"])
def test_the_core_imports_the_standard_library_and_itself_only(layer: str) -> None:
    allowed = {*sys.stdlib_module_names, "llm_backend"}

    foreign = {
        f"{path.relative_to(REPOSITORY)}: {name}"
        for path in (SOURCE / layer).rglob("*.py")
        for name in imported(path)
        if name.partition(".")[0] not in allowed
    }

    assert not foreign


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module
            case _:
                pass
