"""How well questions that a collection cannot answer are told from those that it can.

Each folder (`corpus.jsonl`, `queries.jsonl`) is read into a knowledge base and asked its own questions and those of all
others in the same script: `python -m benchmarks.relevance FOLDER FOLDER …`
"""

import argparse
import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from llm_backend import Settings, open_backend
from llm_backend.domain.knowledge import Block, ParsedDocument, Relevance

CHINESE = range(0x4E00, 0xA000)


class CollectionParser:
    """Takes lines of JSON for one document, with a page for each, so that no chunk has parts of two."""

    async def parse(self, file: Path, name: str) -> ParsedDocument:
        del name
        parts, blocks, start = [], [], 0
        for page, row in enumerate(_rows(file), 1):
            headings = (row["title"],) if row.get("title") else ()
            blocks.append(Block(start=start, end=start + len(row["text"]), headings=headings, page=page))
            parts.append(row["text"])
            start += len(row["text"]) + 2
        return ParsedDocument(text="\n\n".join(parts), blocks=blocks, file_type="jsonl")


async def judged(collection: Path, questions: Mapping[str, Sequence[str]]) -> dict[str, Counter[Relevance]]:
    """How relevant what is found in the collection is to the questions of each."""
    found: dict[str, Counter[Relevance]] = {}
    with TemporaryDirectory() as folder:
        async with open_backend(Settings(data_folder=Path(folder)), parser=CollectionParser()) as backend:
            user = await backend.register_user("ada", "correct horse")
            shelf = (await backend.create_knowledge_base(user, collection.name)).id
            await backend.upload_document(user, shelf, collection / "corpus.jsonl", "collection.txt")
            for name, some in questions.items():
                results = [await backend.retrieve(user, shelf, question) for question in some]
                found[name] = Counter(result.relevance for result in results)
    return found


async def main(folders: Sequence[Path], limit: int) -> None:
    questions = {folder.name: _questions(folder, limit) for folder in folders}
    print("| collection | questions of | high | low | none |\n|---|---|---|---|---|")
    for folder in folders:
        mine = {name: some for name, some in questions.items() if _script(some) == _script(questions[folder.name])}
        for name, counts in (await judged(folder, mine)).items():
            shares = " | ".join(f"{counts[one] / counts.total():.1%}" for one in Relevance)
            print(f"| {folder.name} | {'itself' if name == folder.name else name} | {shares} |", flush=True)


def _questions(folder: Path, limit: int) -> list[str]:
    questions = [row["text"] for row in _rows(folder / "queries.jsonl")]
    random.Random(7).shuffle(questions)
    return questions[:limit]


def _script(questions: Sequence[str]) -> bool:
    return sum(ord(character) in CHINESE for character in "".join(questions)) > 0


def _rows(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--questions", type=int, default=300, help="of each collection")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.folders, arguments.questions))
