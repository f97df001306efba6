"""The one fixture that the contracts of stored things ask for, and how to fill it."""

from collections.abc import Sequence
from typing import Protocol

from llm_backend.application.ports import store as ports
from llm_backend.application.ports.answer_journal import AnswerJournal
from llm_backend.application.ports.answer_leases import AnswerLeases
from llm_backend.domain.conversations import Conversation
from llm_backend.domain.ids import UserId, WriterId
from llm_backend.domain.knowledge import Block, Chunk, Document, KnowledgeBase
from llm_backend.domain.users import User
from llm_backend.testing.builders import a_chunk

ALICE = UserId(1)
BOB = UserId(2)

# What has broken string handling before: quotes, wildcards, comment signs, emoji made of several code points,
# right-to-left text, line separators that are no newlines, the largest code point, text before the first letter.
ODD_TEXTS = (
    "x' OR '1'='1",
    'say "hello"; --',
    "100%_\\",
    "👩\u200d👩\u200d👧 family",
    "\u2028line\u2029paragraph\u0085",
    "مرحبا \u202eright to left",
    "\U0010ffff \ufeff e\u0301 é",
    "'; DROP TABLE users; --",
    ":name ? $1 {braces} %(percent)s",
)


class Store(ports.Store, Protocol):
    """All that is stored, behind its ports, and as other processes see it. Empty at the start of each test.

    An adapter may refuse things of an owner that was never added, so the contracts add users first.
    """

    def journal_of(self, me: WriterId) -> AnswerJournal:
        """The same as another process sees it."""

    def leases_of(self, me: WriterId) -> AnswerLeases:
        """The same as another process sees it."""


async def given(store: Store, *things: User | Conversation | KnowledgeBase) -> None:
    """Add and commit them, in that order."""
    async with store.transactions() as work:
        for thing in things:
            match thing:
                case User():
                    await work.users.add(thing)
                case Conversation():
                    await work.conversations.add(thing)
                case KnowledgeBase():
                    await work.knowledge_bases.add(thing)
        await work.commit()


async def given_pending(
    store: Store,
    document: Document,
    *,
    text: str = "hello world",
    chunks: Sequence[Chunk] | None = None,
    blocks: Sequence[Block] = (),
) -> None:
    """Add and commit a document that is still being read in."""
    async with store.transactions() as work:
        await work.documents.add(document, text, [a_chunk()] if chunks is None else chunks, blocks)
        await work.commit()


async def given_ready(
    store: Store,
    document: Document,
    *,
    text: str = "hello world",
    chunks: Sequence[Chunk] | None = None,
    blocks: Sequence[Block] = (),
    statistics: bytes | None = None,
) -> None:
    """Add and commit a document, with its vectors, that may be listed and searched."""
    chunks = [a_chunk()] if chunks is None else chunks
    await given_pending(store, document, text=text, chunks=chunks, blocks=blocks)
    async with store.transactions() as work:
        found = await work.documents.find(document.id)
        assert found
        assert found[1]
        vectors = [a_vector(n) for n in range(len(chunks))]
        await work.documents.store_vectors(document.id, document.attempt, found[1], vectors, statistics)
        assert await work.documents.mark_ready(document.id, document.attempt)
        await work.commit()


def a_vector(number: int) -> bytes:
    """Four little-endian float32, of which one byte tells the vectors of a test apart."""
    return bytes([number]) + bytes(15)
