"""A backend for tests of the HTTP face: everything in memory, passwords hashed fast, a scripted model."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from msgspec.structs import replace

from llm_backend.application.backend import Backend
from llm_backend.bootstrap import open_backend
from llm_backend.bootstrap.adapters import Ports
from llm_backend.config import Settings
from llm_backend.domain.errors import DocumentUnreadable
from llm_backend.domain.knowledge import Block, EmbeddingSpace, ParsedDocument
from llm_backend.domain.users import PasswordHash
from llm_backend.infrastructure.embedding.configured import ConfiguredEmbedders
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from llm_backend.infrastructure.memory.passage_index import MemoryPassageIndex
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.testing.scripted_chat_model import ScriptedChatModel


class FastPasswords:
    """Hashes that nobody has to wait for."""

    async def hash(self, password: str) -> PasswordHash:
        return PasswordHash(hashlib.sha256(password.encode()).hexdigest())

    async def verify(self, password: str, stored: PasswordHash | None) -> bool:
        return stored is not None and await self.hash(password) == stored

    def is_outdated(self, stored: PasswordHash) -> bool:
        return False


class PlainTextParser:
    """Takes every file for UTF-8 text of one paragraph, unless `error` is set, and remembers where it found it.

    With `slowly` it has to be let `go_on` for each file, after it `began`.
    """

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.sizes: list[int] = []
        self.error: Exception | None = None
        self.slowly = False
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()

    async def parse(self, file: Path, name: str) -> ParsedDocument:
        self.began.set()
        if self.slowly:
            await self.go_on.wait()
            self.go_on.clear()
        content = await asyncio.to_thread(file.read_bytes)
        self.files.append(file)
        self.sizes.append(len(content))
        if self.error:
            raise self.error
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise DocumentUnreadable from error
        kind = name.rpartition(".")[2] or "txt"
        return ParsedDocument(text=text, blocks=[Block(start=0, end=len(text))], file_type=kind)


@dataclass(frozen=True, slots=True)
class NamedEmbedder(HashEmbedder):
    """The lexical embedder under the name of a model that it is not."""

    name: str = ""

    @property
    def space(self) -> EmbeddingSpace:
        return EmbeddingSpace(model=self.name, dimensions=1024)


def named_embedders() -> ConfiguredEmbedders:
    names = ("zhipu-embedding-3", "zhipu-embedding-2")
    return ConfiguredEmbedders([NamedEmbedder(name=name) for name in names], default=names[0])


@asynccontextmanager
async def memory_backend(
    folder: Path, settings: Settings | None = None, **ports: Unpack[Ports]
) -> AsyncIterator[Backend]:
    """Any port, or the settings, can be replaced."""
    ports.setdefault("store", MemoryStore())
    async with fake_backend(folder, settings, **ports) as backend:
        yield backend


@asynccontextmanager
async def fake_backend(
    folder: Path, settings: Settings | None = None, **ports: Unpack[Ports]
) -> AsyncIterator[Backend]:
    """The same, with its data where the settings say."""
    chosen: Ports = {
        "passage_index": MemoryPassageIndex(),
        "chat_model": ScriptedChatModel(),
        "embedders": named_embedders(),
        "parser": PlainTextParser(),
        "passwords": FastPasswords(),
    }
    chosen.update(ports)
    async with open_backend(replace(settings or Settings(), data_folder=folder), **chosen) as backend:
        yield backend
