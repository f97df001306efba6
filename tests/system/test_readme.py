"""What the README says, done."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import pytest
from typing_extensions import is_protocol

from llm_backend.application import ports
from llm_backend.testing import contracts
from tests.conftest import require_binary
from tests.live import ServerProcess

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LONGEST_RUN = 120  # seconds
MARK = "--- status "


def block_after(words: str, language: str) -> str:
    """The first block of code of that language behind some words."""
    _, found, rest = README.partition(words)
    assert found, f"the README does not say {words!r}"
    code = re.search(rf"^```{language}\n(.*?)^```$", rest, re.DOTALL | re.MULTILINE)
    assert code
    return code[1]


def pasted(lines: list[str], folder: Path) -> list[tuple[str, str, int]]:
    """Each line as it is typed into a shell, with what it wrote and its status."""
    script = "".join(f'{line}\necho "\n{MARK}$?"\n' for line in lines)
    done = subprocess.run(
        [require_binary("bash"), "--noprofile", "--norc"],
        input=script,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN,
        check=False,
    )
    assert done.stderr == ""
    parts = re.split(rf"\n{MARK}(\d+)\n", done.stdout)
    return list(zip(lines, parts[::2], map(int, parts[1::2]), strict=False))


def steps_of_the_walk(url: str) -> list[str]:
    walk = block_after("## A walk through it", "sh")
    assert walk.count("http://127.0.0.1:8080/") == 1
    walk = walk.replace("http://127.0.0.1:8080/", f"{url}/")
    return [line for line in walk.splitlines() if line and not line.startswith("#")]


def test_the_walk_works_line_by_line(server: ServerProcess) -> None:
    require_binary("curl")
    steps = steps_of_the_walk(server.url)

    told = pasted(steps, ROOT)

    assert [step for step, _, status in told if status == 0] == steps
    assert [(step, output) for step, output, _ in told if '"error"' in output or '"code"' in output] == []
    shown = [output for _, output, _ in told if output]
    registered, chat, history, first, second, found, followed, content, chunks, size, cited, *deleted = shown
    assert "registered successfully" in registered
    assert chat.rstrip().splitlines()[-1].startswith('{"event":"full_response"')
    assert '"role":"assistant"' in history
    assert all('"success":true' in reply and '"doc_id"' in reply for reply in (first, second))
    assert "handbook.docx" in found
    assert '"state":"ready"' in followed.rstrip().splitlines()[-1]
    assert '"blocks":[{' in content
    assert '"position":0' in chunks
    assert int(size) == (ROOT / "examples" / "handbook.docx").stat().st_size
    assert "event: citations\n" in cited
    assert "event: full_response\n" in cited
    assert len(deleted) == 3


def run_python(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(2 * LONGEST_RUN)
def test_the_python_example_of_the_readme_runs(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(block_after("## Inside your own program", "python"))

    first, second = (run_python("-W", "error", "example.py", folder=tmp_path) for _ in range(2))

    for output in (first, second):
        assert "Delta(text=" in output
        assert "FullText(text=" in output.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["example.py"]  # not in the folder of a server that runs here


REACHED_THROUGH_OTHERS = {
    "DeletedPlaces", "Embedders", "IdempotencyRecords", "LogReader", "RotatableSecretBox", "Store", "TakenOver",
    "UnitOfWork",
}  # fmt: skip


def test_the_table_has_every_port() -> None:
    table = "".join(line for line in README.splitlines() if line.startswith("| `"))

    named = set(re.findall(r"`([A-Z]\w+)`", table))
    assert names_of_ports() - named == REACHED_THROUGH_OTHERS


def test_the_ports_without_a_contract_are_those_that_are_named() -> None:
    _, _, rest = README.partition("certified – of all but ")
    named = set(re.findall(r"`(\w+)`", rest.partition("–")[0]))

    tested = set(re.findall(r"\w+", "".join(inspect.getsource(module) for module in modules_in(contracts))))
    assert names_of_ports() - tested - REACHED_THROUGH_OTHERS == named


def names_of_ports() -> set[str]:
    values = [value for module in modules_in(ports) for value in vars(module).values() if isinstance(value, type)]
    return {value.__name__ for value in values if is_protocol(value) and value.__module__.startswith(ports.__name__)}


def modules_in(package: ModuleType) -> list[ModuleType]:
    return [import_module(f"{package.__name__}.{module.name}") for module in iter_modules(package.__path__)]


@pytest.mark.timeout(2 * LONGEST_RUN)
def test_the_example_quotes_the_handbook(tmp_path: Path) -> None:
    output = run_python(str(ROOT / "examples" / "embed.py"), str(tmp_path / "data"), folder=tmp_path)

    answer, *sources = output.strip().splitlines()
    assert "[1]" in answer
    assert sources[0].startswith("[1] handbook.docx: ")


def test_the_configuration_of_the_readme_is_one(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block_after("## A real model", "yaml"))

    output = run_python("-m", "llm_backend", "config", "check", folder=tmp_path)

    assert "ollama: llama*, qwen* (needs no key)" in output


def test_the_configuration_in_the_repository_is_one(tmp_path: Path) -> None:
    output = run_python("-m", "llm_backend", "config", "check", "--config", str(ROOT / "config.yaml"), folder=tmp_path)

    assert "The configuration is fine." in output
