"""Documents from elsewhere: what of them is read, how fast, and that their chunks are where they say.

LLM_BACKEND_TEST_DOCUMENTS names a folder of files. Its `MANIFEST.json` lists `file`, `category` (`ok` must be read)
and, for some, the words to be found: `must_include_upstream_markdown`, or a file `<file>.expected.md` beside it.
LLM_BACKEND_TEST_COLLECTIONS names a folder of collections, each with a `corpus.jsonl` of `title` and `text`.
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
from llm_backend.infrastructure.parsing.limits import ParsingLimits
from llm_backend.infrastructure.parsing.reading import read_document
from llm_backend.infrastructure.parsing.sandbox import SandboxedParser

VARIABLE = "LLM_BACKEND_TEST_DOCUMENTS"
FOLDER = Path(os.environ.get(VARIABLE, ""))
LONGEST_SECONDS = 10

COLLECTIONS = "LLM_BACKEND_TEST_COLLECTIONS"


def manifest() -> list[Mapping[str, Any]]:
    listed = (FOLDER / "MANIFEST.json").read_text() if VARIABLE in os.environ else "[]"
    entries: list[Mapping[str, Any]] = json.loads(listed)
    return entries


def corpora() -> list[Path]:
    return sorted(Path(os.environ[COLLECTIONS]).glob("*/corpus.jsonl")) if COLLECTIONS in os.environ else []


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
    assert_exact(document)


@pytest.mark.parametrize("corpus", corpora(), ids=lambda corpus: corpus.parent.name)
@pytest.mark.parametrize("suffix", ["txt", "md", "html"])
def test_chunks_of_a_collection_are_where_they_say(corpus: Path, suffix: str, tmp_path: Path) -> None:
    """Of each text by itself, and of all of them as one document."""
    texts = [f"# {one['title']}\n\n{one['text']}" for one in map(json.loads, corpus.read_text().splitlines())]

    for text in (*texts, "\n\n".join(texts)):
        file = tmp_path / f"a.{suffix}"
        file.write_text(text)
        document = read_document(file, file.name, ParsingLimits())
        assert_exact(document)
        if suffix != "html":
            assert document.text == text.replace("\ufeff", "")


def assert_exact(document: ParsedDocument) -> None:
    """Chunks and blocks are parts of the text, and each chunk is where a block says that it is."""
    chunks = chunks_of(document)
    assert chunks
    assert all(document.text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    bounds = [bound for block in document.blocks for bound in (block.start, block.end)]
    assert bounds == sorted(bounds)
    places = {(block.headings, block.page, block.sheet) for block in document.blocks}
    assert {(chunk.headings, chunk.page, chunk.sheet) for chunk in chunks} <= places
    covered = [document.text[chunk.start : chunk.end] for chunk in chunks]
    assert words(" ".join(covered)) >= words(document.text)
