"""Other people's clients do all that they can with a live server, and the documentation counts it right."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.conftest import require_binary

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "openai" / "clients.md"
LONGEST_RUN = 170.0  # seconds

FAILED = ("failure", "error", "skipped[@type='pytest.xfail']")  # the last is known to fail, and fails nonetheless

Counts = tuple[int, int, int]
"""Passed, failed, not applicable."""


def listed(name: str) -> Counts:
    """What the table says of a client."""
    (row,) = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {name} |")]
    passed, failed, not_applicable = row.split("|")[3:6]
    return int(passed), int(failed), int(not_applicable)


def counted(report: Path) -> tuple[Counts, str]:
    """What a report in the form of JUnit says, and what it says about those that failed."""
    cases = list(ET.parse(report).iter("testcase"))
    failed = [case for case in cases if any(case.find(kind) is not None for kind in FAILED)]
    skipped = [case for case in cases if case.find("skipped") is not None and case not in failed]
    told = "\n".join(ET.tostring(case, encoding="unicode") for case in failed)
    return (len(cases) - len(failed) - len(skipped), len(failed), len(skipped)), told


def run(command: list[str], folder: Path, environment: dict[str, str], program: str | None = None) -> None:
    """To its end; whether it liked what it saw, its report says."""
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=environment,
        input=program,
        text=True,
        timeout=LONGEST_RUN,
        capture_output=True,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr


@pytest.mark.timeout(2 * LONGEST_RUN)
@pytest.mark.parametrize(
    ("name", "suite"),
    [
        ("openai-python 3", "openai"),
        ("openai-python 2", "openai"),
        ("langchain-openai", "langchain"),
        ("llama-index", "llama_index"),
        ("pydantic-ai", "pydantic_ai"),
    ],
)
def test_clients_for_python(name: str, suite: str, clients: Path, environment: dict[str, str], tmp_path: Path) -> None:
    python = sys.executable if name == "openai-python 3" else str(clients / "bin" / "python")
    suites, report = HERE / "suites", tmp_path / "report.xml"
    options = ["-q", "-c", str(suites / "pytest.ini"), "--rootdir", str(suites), f"--junit-xml={report}"]

    run([python, "-m", "pytest", *options, str(suites / f"{suite}_suite.py")], tmp_path, environment)

    counts, told = counted(report)
    assert counts == listed(name), told


@pytest.mark.timeout(2 * LONGEST_RUN)
@pytest.mark.parametrize(("name", "program"), [("openai-node", "openai.mjs"), ("Vercel AI SDK", "ai-sdk.mjs")])
def test_clients_for_node(name: str, program: str, clients: Path, environment: dict[str, str], tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    options = ["--input-type=module", "--test-reporter=junit", f"--test-reporter-destination={report}"]

    run([require_binary("node"), *options], clients / "node", environment, (HERE / "node" / program).read_text())

    counts, told = counted(report)
    assert counts == listed(name), told
