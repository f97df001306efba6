"""A folder of documents through the product: which are read, how much of their words, and what reading them costs.

    python -m benchmarks.documents FOLDER

`MANIFEST.json` in it lists `file` and `category` of each document (`ok` must be read) and, for some, what is to be
found in it: `must_include_upstream_markdown`, or a file `<file>.expected.md` beside it. Without a manifest every file
counts as `ok`. All are uploaded to one backend; of what was read, text and chunks are read back and compared.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.server import configure
from llm_backend import Backend, open_backend
from llm_backend.domain.errors import DomainError
from llm_backend.domain.ids import DocumentId, KnowledgeBaseId, UserId
from llm_backend.interface.http.errors import status_of

ENOUGH, MOST_READ = 0.9, 0.9  # of the expected words; of the files that must be read
LONGEST_SECONDS, MOST_MIB = 10.0, 512.0
SAMPLE_SECONDS = 0.01
_WORDS = re.compile(r"[^\W_]+")
_LEFT_OVER = re.compile(r"^(?:original-|llm-backend-reading-)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file, and the words that must be in it, if anybody knows."""

    path: Path
    category: str
    expected: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a file. `found` is the share of the expected words; `mib` the most memory of whoever read it."""

    listed: Listed
    status: str
    found: float | None
    seconds: float
    mib: float
    faults: Sequence[str]

    @property
    def is_good(self) -> bool:
        bounded = self.seconds <= LONGEST_SECONDS and self.mib <= MOST_MIB and not self.faults
        return bounded and (self.listed.category != "ok" or self.is_read)

    @property
    def is_read(self) -> bool:
        return self.status == "read" and (self.found is None or self.found >= ENOUGH)


def main() -> int:
    parser = argparse.ArgumentParser(description="Read a folder of documents through the product.")
    parser.add_argument("folder", type=Path)
    listed = list(_listed(parser.parse_args().folder))
    with TemporaryDirectory(prefix="llm-backend-bench-") as home:
        outcomes = asyncio.run(_walk(listed, Path(home)))
    return _judge(outcomes)


def words(text: str) -> frozenset[str]:
    return frozenset(_WORDS.findall(text.lower()))


def _listed(folder: Path) -> Iterator[Listed]:
    manifest = folder / "MANIFEST.json"
    if not manifest.exists():
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            yield Listed(path=path, category="ok", expected=frozenset())
        return
    for entry in json.loads(manifest.read_text()):
        yield Listed(path=folder / entry["file"], category=entry["category"], expected=_expected(folder, entry))


def _expected(folder: Path, entry: dict[str, Any]) -> frozenset[str]:
    beside = folder / f"{entry['file']}.expected.md"
    return words(beside.read_text() if beside.exists() else " ".join(entry.get("must_include_upstream_markdown", ())))


async def _walk(listed: Sequence[Listed], home: Path) -> list[Outcome]:
    async with open_backend(configure(home)) as backend:
        owner = await backend.register_user("reader", "correct horse battery staple")
        shelf = (await backend.create_knowledge_base(owner, "Documents")).id
        print(f"{'file':44} {'category':24} {'result':24} {'words':>6} {'s':>6} {'MiB':>5}")
        outcomes = []
        for one in listed:
            outcomes.append(await _outcome(backend, owner, shelf, one, home))
            _show(outcomes[-1])
    return outcomes


async def _outcome(backend: Backend, owner: UserId, shelf: KnowledgeBaseId, listed: Listed, home: Path) -> Outcome:
    began = time.perf_counter()
    status, document = "read", None
    async with _peak() as peak:
        try:
            document = (await backend.upload_document(owner, shelf, listed.path, listed.path.name)).document.id
        except DomainError as error:
            status = f"{error.code} ({status_of(error.code)})"
    seconds = time.perf_counter() - began
    found, faults = await _checked(backend, owner, document, listed) if document else (None, [])
    others = {each.id for each in await backend.list_documents(owner, shelf)} - {document}
    if document:
        await backend.delete_document(owner, shelf, document)
    faults = [*faults, *(f"{name} is listed" for name in others), *await asyncio.to_thread(_left_over, home)]
    return Outcome(listed=listed, status=status, found=found, seconds=seconds, mib=max(peak), faults=faults)


async def _checked(
    backend: Backend, owner: UserId, document: DocumentId, listed: Listed
) -> tuple[float | None, list[str]]:
    """The share of the expected words that are there, and what is wrong with the chunks."""
    text = await _text(backend, owner, document)
    found = len(listed.expected & words(text)) / len(listed.expected) if listed.expected else None
    return found, await _inexact(backend, owner, document, text)


def _left_over(home: Path) -> list[str]:
    """Temporary files. What is kept for its document is not called like that."""
    return [f"{left} is left" for left in home.rglob("*") if _LEFT_OVER.match(left.name) and left.is_file()]


async def _text(backend: Backend, owner: UserId, document: DocumentId) -> str:
    part = await backend.read_content(owner, document)
    text = part.text
    while len(text) < part.length:
        part = await backend.read_content(owner, document, start=part.end)
        text += part.text
    return text


async def _inexact(backend: Backend, owner: UserId, document: DocumentId, text: str) -> list[str]:
    faults, after = list[str](), -1
    while chunks := (await backend.read_chunks(owner, document, after=after))[1]:
        faults += [f"chunk {each.position} is elsewhere" for each in chunks if text[each.start : each.end] != each.text]
        after = chunks[-1].position
    return faults if after >= 0 else ["no chunks"]


@asynccontextmanager
async def _peak() -> AsyncIterator[list[float]]:
    """The most memory, in MiB, of each look at the processes that read documents."""
    seen = [0.0]
    for process in _readers():
        with suppress(OSError):
            (process / "clear_refs").write_text("5")  # begin anew
    task = asyncio.create_task(_look(seen))
    try:
        yield seen
    finally:
        seen.append(_memory())
        task.cancel()
        await asyncio.wait([task])


async def _look(seen: list[float]) -> None:
    while True:
        seen.append(_memory())
        await asyncio.sleep(SAMPLE_SECONDS)


def _memory() -> float:
    return max((_high_water(process) for process in _readers()), default=0.0)


def _readers() -> Iterator[Path]:
    children = Path("/proc/self/task").glob("*/children")
    for number in " ".join(each.read_text() for each in children).split():
        process = Path("/proc") / number
        with suppress(OSError):
            if b"parsing.worker" in (process / "cmdline").read_bytes():
                yield process


def _high_water(process: Path) -> float:
    with suppress(OSError):
        if peak := re.search(r"VmHWM:\s*(\d+)", (process / "status").read_text()):
            return int(peak[1]) / 1024
    return 0.0


def _show(outcome: Outcome) -> None:
    found = "" if outcome.found is None else f"{outcome.found:.3f}"
    line = f"{outcome.listed.path.name:44} {outcome.listed.category:24} {outcome.status:24} {found:>6}"
    faults = "".join(f"  {fault}" for fault in outcome.faults)
    print(f"{line} {outcome.seconds:6.2f} {outcome.mib:5.0f}{faults}", flush=True)


def _judge(outcomes: Sequence[Outcome]) -> int:
    must = [outcome for outcome in outcomes if outcome.listed.category == "ok"]
    read = sum(outcome.is_read for outcome in must)
    bad = [outcome.listed.path.name for outcome in outcomes if not outcome.is_good]
    print(f"\n{read} of {len(must)} that must be read are, with {ENOUGH:.0%} of the expected words.")
    print(f"At most {max(each.seconds for each in outcomes):.1f} s and {max(each.mib for each in outcomes):.0f} MiB.")
    if bad:
        print(f"Not as they should be: {', '.join(bad)}")
    return 0 if read >= MOST_READ * len(must) and all(each.is_good for each in outcomes if each not in must) else 1


if __name__ == "__main__":
    sys.exit(main())
