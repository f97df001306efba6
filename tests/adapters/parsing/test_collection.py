"""A folder of documents from elsewhere, named by LLM_BACKEND_TEST_DOCUMENTS: what of them is read, and how fast.

Its `MANIFEST.json` lists `file`, `category` (`ok` must be read) and, for some, the words to be found:
`must_include_upstream_markdown`, or a file `<file>.expected.md` beside it.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llm_backend.domain.chunking import chunks_of
from llm_backend.domain.errors import DomainError
from llm_backend.domain.knowledge import ParsedDocument
from llm_backend.infrastructure.parsing.sandbox import SandboxedParser

VARIABLE = "LLM_BACKEND_TEST_DOCUMENTS"
FOLDER = Path(os.environ.get(VARIABLE, ""))
LONGEST_SECONDS = 10

pytestmark = pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no folder")


def manifest() -> list[Mapping[str, Any]]:
    listed = (FOLDER / "MANIFEST.json").read_text() if VARIABLE in os.environ else "[]"
    entries: list[Mapping[str, Any]] = json.loads(listed)
    return entries


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.lower()))


def expected_words(entry: Mapping[str, Any]) -> set[str]:
    beside = FOLDER / f"{entry['file']}.expected.md"
    fragments: Iterable[str] = entry.get("must_include_upstream_markdown", ())
    return words(beside.read_text() if beside.exists() else " ".join(fragments))


def share_found(document: ParsedDocument, entry: Mapping[str, Any]) -> float:
    expected = expected_words(entry)
    return len(expected & words(document.text)) / len(expected) if expected else 1.0


async def read_or_refused(name: str) -> ParsedDocument | DomainError:
    async with SandboxedParser() as parser:
        try:
            return await parser.parse(FOLDER / name, name)
        except DomainError as error:
            return error


@pytest.mark.parametrize("entry", manifest(), ids=lambda entry: entry["file"])
async def test_a_document_is_read_or_refused_in_time(entry: Mapping[str, Any]) -> None:
    started = time.monotonic()
    document = await read_or_refused(entry["file"])

    assert time.monotonic() - started < LONGEST_SECONDS
    if isinstance(document, DomainError):
        assert entry["category"] != "ok"
        return
    assert share_found(document, entry) >= 0.9
    chunks = chunks_of(document)
    assert chunks
    assert all(document.text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
