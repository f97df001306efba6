"""Reading files."""

from pathlib import Path
from typing import Protocol

from llm_backend.domain.knowledge import ParsedDocument


class DocumentParser(Protocol):
    """Turns a file somebody sent into text, in bounded time and memory whatever it contains."""

    async def parse(self, file: Path, name: str) -> ParsedDocument:
        """`name` is what the sender calls it; the content decides what it is.

        Raises `DocumentUnreadable`, `DocumentEncrypted`, `DocumentEmpty`, `DocumentScanned` (pictures of text only),
        `DocumentTooLarge` (it unpacks to more than the limits allow) or `UnsupportedDocument`.
        """
