"""What somebody does who embeds the product, in a folder of their own."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest

from llm_backend import Settings, open_backend
from llm_backend.domain.answers import FullText
from llm_backend.infrastructure.memory import (
    MemoryBlobs,
    MemoryCache,
    MemoryJobs,
    MemoryPassageIndex,
    MemoryRateLimiter,
    MemoryStopSignals,
    MemoryStore,
    MemoryStreamLog,
)
from llm_backend.testing import ScriptedChatModel, contracts

README = (Path(__file__).parents[2] / "README.md").read_text()
LONGEST_RUN = 120  # seconds
A_CACHE = """
class MyCache:
    def __init__(self):
        self._values = {}

    async def get(self, key):
        value, until = self._values.get(key, (None, 0))
        return value if time.monotonic() < until else None

    async def set(self, key, value, *, ttl):
        {what_goes_wrong}
        self._values[key] = value, time.monotonic() + ttl.total_seconds()

    async def delete(self, key):
        self._values.pop(key, None)
"""


def example_of(documentation: str) -> str:
    """Its indented lines."""
    lines = inspect.cleandoc(documentation).splitlines()
    first, last = lines.index("    import asyncio"), max(i for i, line in enumerate(lines) if line.startswith("    "))
    return dedent("\n".join(lines[first : last + 1])) + "\n"


def tried_in(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN,
        check=False,
    )


@pytest.mark.timeout(2 * LONGEST_RUN)
@pytest.mark.parametrize(("flaw", "outcome"), [("pass", 0), ("self._values.clear()", 1)])
def test_the_example_of_the_contracts_certifies_an_adapter(flaw: str, outcome: int, tmp_path: Path) -> None:
    assert contracts.__doc__
    (tmp_path / "my_program.py").write_text("import time\n" + A_CACHE.replace("{what_goes_wrong}", flaw))
    (tmp_path / "test_my_cache.py").write_text(example_of(contracts.__doc__))
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\npythonpath = .\n")

    done = tried_in(tmp_path)

    assert done.returncode == outcome, done.stdout
    assert ("failed" in done.stdout) is bool(outcome)


async def test_a_whole_backend_runs_in_memory(tmp_path: Path) -> None:
    async with open_backend(
        Settings(data_folder=tmp_path),
        store=MemoryStore(),
        blobs=MemoryBlobs(),
        jobs=MemoryJobs(),
        passage_index=MemoryPassageIndex(),
        stream_log=MemoryStreamLog(),
        stop_signals=MemoryStopSignals(),
        cache=MemoryCache(),
        rate_limiter=MemoryRateLimiter(),
        chat_model=ScriptedChatModel("Good ", "morning"),
    ) as backend:
        user = await backend.register_user("ada", "correct horse battery staple")
        conversation = await backend.create_conversation(user, "Hello", "demo")
        answer = await backend.send_message(user, conversation.id, "Hello?")
        events = [event async for batch in backend.follow_answer(user, answer) for _, event in batch]

    assert isinstance(events[-1], FullText)
    assert events[-1].text == "Good morning"


def test_the_names_that_the_readme_takes_from_there_are_there() -> None:
    named = set(re.findall(r"`(llm_backend\.(?:testing|infrastructure\.memory))\.(\w+)`", README))

    assert {name for _, name in named} >= {"MemoryStore", "MemoryCache", "ScriptedChatModel"}
    assert [name for home, name in named if name != "contracts" and not hasattr(import_module(home), name)] == []
