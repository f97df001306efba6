"""`import llm_backend` offers a handful of names, and fetches each when it is asked for."""

import subprocess
import sys
from importlib.metadata import version

import pytest

import llm_backend
from llm_backend import testing
from llm_backend.infrastructure import memory

NAMES = {"Backend", "DomainError", "Settings", "__version__", "open_backend"}
IN_MEMORY = {
    "MemoryBlobs", "MemoryCache", "MemoryJobs", "MemoryPassageIndex", "MemoryRateLimiter", "MemoryStopSignals",
    "MemoryStore", "MemoryStreamLog",
}  # fmt: skip
NAMES_FOR_TESTS = {
    "FOREVER", "CountingIds", "Faults", "Faulty", "ManualClock", "ScriptedChatModel", "faults_at_every_call",
}  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert set(llm_backend.__all__) == NAMES
    assert set(dir(llm_backend)) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(llm_backend, name) is not None


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_frontend'"):
        _ = llm_backend.open_frontend


def test_the_version_is_that_of_the_distribution() -> None:
    assert llm_backend.__version__ == version("llm-backend-api")


def test_importing_it_imports_nothing_else() -> None:
    program = (
        "import sys; before = set(sys.modules); import llm_backend; new = set(sys.modules) - before; "
        "print(sorted(name for name in new if name.partition('.')[0] not in sys.stdlib_module_names))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "['llm_backend']"


def test_the_public_names_for_tests_are_these() -> None:
    assert set(testing.__all__) == NAMES_FOR_TESTS
    assert set(dir(testing)) >= NAMES_FOR_TESTS


@pytest.mark.parametrize("name", sorted(NAMES_FOR_TESTS))
def test_every_public_name_for_tests_is_there(name: str) -> None:
    assert getattr(testing, name) is not None


@pytest.mark.parametrize("name", sorted(IN_MEMORY))
def test_every_adapter_in_memory_has_a_short_name(name: str) -> None:
    assert name in memory.__all__
    assert name in dir(memory)
    assert getattr(memory, name) is not None


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'MemoryLapse'"):
        _ = memory.MemoryLapse


def test_an_adapter_in_memory_is_imported_on_first_use_and_nobody_elses() -> None:
    program = (
        "import sys; from llm_backend import testing; from llm_backend.infrastructure import memory; "
        "found = lambda: sorted(name for name in sys.modules if name.startswith('llm_backend.infrastructure.')); "
        "print(found()); memory.MemoryCache; print(found()); "
        f"[getattr(memory, name) for name in {sorted(IN_MEMORY)}]; "
        "print([name for name in ('litestar', 'sqlalchemy', 'lancedb', 'redis', 'pytest') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    package = "llm_backend.infrastructure.memory"
    assert done.stdout.splitlines() == [str([package]), str([package, f"{package}.cache"]), "[]"]


def test_the_server_does_not_import_what_it_has_no_use_for() -> None:
    program = (
        "import sys; import llm_backend.bootstrap.commands; "
        "print([name for name in ('advanced_alchemy', 'pydantic', 'numpy', 'lancedb') if name in sys.modules]); "
        "import advanced_alchemy"  # what was hidden is there again
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
