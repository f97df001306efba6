"""The examples of `docs/openai` do what they say, against a live server."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import require_binary
from tests.live import ServerProcess

DOCUMENTS = Path(__file__).parents[2] / "docs" / "openai"
LONGEST_RUN = 120.0  # seconds
NOTICE = "built-in demo model"

FAMILIES: dict[str, dict[str, str]] = {
    "keys.md": {
        "python": "'demo'",
        "js": "^demo$",
        "bash": '"id":"demo".*"name":"script".*deleted',
    },
    "chat.md": {
        "python": rf"'demo'.*{NOTICE}.*{NOTICE}.*\ntokens: \d+",
        "js": rf"{NOTICE}.*{NOTICE}",
        "bash": r'"id":"demo".*"chat.completion".*"chat.completion.chunk".*data: \[DONE\]',
    },
    "embeddings.md": {
        "python": "0 1024\n1 1024",
        "js": r"256 \d+",
        "bash": r'"embedding":\[(-?[\d.e-]+,){3}-?[\d.e-]+\]',
    },
    "files.md": {
        "python": r"seller\.txt .* The seller delivers within ten days\.",
        "js": r"seller\.txt .* The seller delivers within ten days\.",
        "bash": r'The buyer pays within ten days\..*"object":"vector_store\.search_results\.page"',
    },
    "responses.md": {
        "python": rf"completed .*{NOTICE}.*\ncompleted True\n.+\n.*30 days of holiday.*\nhandbook\.txt \d+",
        "js": rf"completed .*{NOTICE}.*\ncompleted$",
        "bash": r'"sequence_number":4.*event: response\.completed.*Who are you\?.*"deleted":true',
    },
    "conversations.md": {
        "python": rf"user Who are you\?\nassistant .*{NOTICE}",
        "js": rf"user Call me Ada\.\nuser Who are you\?\nassistant .*{NOTICE}",
        "bash": r'Call me Ada\..*Call me Ada\..*"topic":"names".*"deleted":true',
    },
}
"""What each example writes, as a pattern, by document and language."""

FRAMEWORKS = {
    "## LangChain": rf"{NOTICE}.*{NOTICE}.*1024",
    "## LlamaIndex": rf"{NOTICE}.*1024",
    "## Pydantic AI": NOTICE,
    "## Vercel AI SDK": rf"{NOTICE}.*1024",
}
WITHOUT_EXAMPLES = {"README.md", "clients.md", "connecting.md"}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (DOCUMENTS / name).read_text(encoding="utf-8")


def output_of(command: list[str], program: str, folder: Path, environment: Mapping[str, str]) -> str:
    """What a program writes that is given to an interpreter."""
    done = subprocess.run(
        command,
        input=program,
        cwd=folder,
        env=environment,
        text=True,
        timeout=LONGEST_RUN,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def told(environment: dict[str, str], server: ServerProcess) -> dict[str, str]:
    return {**environment, "SERVER": server.url}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_python_example(name: str, told: dict[str, str], tmp_path: Path) -> None:
    (program,) = blocks(page(name), "python")

    output = output_of([sys.executable, "-"], program, tmp_path, told)

    assert re.search(FAMILIES[name]["python"], output, re.DOTALL | re.MULTILINE), output


@pytest.mark.parametrize("name", FAMILIES)
def test_the_node_example(name: str, told: dict[str, str], clients: Path) -> None:
    (program,) = blocks(page(name), "js")

    output = output_of([require_binary("node"), "--input-type=module"], program, clients / "node", told)

    assert re.search(FAMILIES[name]["js"], output, re.DOTALL | re.MULTILINE), output


@pytest.mark.parametrize("name", FAMILIES)
def test_the_curl_example(name: str, told: dict[str, str], tmp_path: Path) -> None:
    require_binary("curl")
    (program,) = blocks(page(name), "bash")

    output = output_of([require_binary("bash"), "-euo", "pipefail"], program, tmp_path, told)

    assert re.search(FAMILIES[name]["bash"], output, re.DOTALL | re.MULTILINE), output


@pytest.mark.parametrize("heading", FRAMEWORKS)
def test_the_example_of_a_framework(heading: str, told: dict[str, str], clients: Path) -> None:
    (_, section) = page("connecting.md").split(f"{heading}\n")
    section = section.partition("\n## ")[0]
    (program,) = [*blocks(section, "python"), *blocks(section, "js")]
    python = "```python" in section
    command = [str(clients / "bin" / "python"), "-"] if python else [require_binary("node"), "--input-type=module"]

    output = output_of(command, program, clients / "node", told)

    assert re.search(FRAMEWORKS[heading], output, re.DOTALL), output


def test_every_page_has_its_examples_tested_and_is_listed() -> None:
    pages = {path.name for path in DOCUMENTS.glob("*.md")}

    assert pages - WITHOUT_EXAMPLES == set(FAMILIES)
    assert set(re.findall(r"\]\((\w+\.md)\)", page("README.md"))) == pages - {"README.md"}
