"""What every document parser must keep."""

import asyncio
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from llm_backend.application.ports.document_parser import DocumentParser
from llm_backend.domain.errors import (
    DocumentEmpty,
    DocumentTooLarge,
    DocumentUnreadable,
    DomainError,
    UnsupportedDocument,
)
from llm_backend.domain.knowledge import ParsedDocument
from llm_backend.domain.text import is_storable

MARKDOWN = "# Guide\n\nFirst, 先读这里 👩‍👩‍👧.\n\n## Install\n\nRun it.\n\n| name | size |\n|---|---|\n| a | 1 |\n"
NOISE = bytes(range(256)) * 64


class DocumentParserContract:
    """Files become texts, or say why not. Needs the fixture `parser`."""

    async def test_a_text_is_read_as_it_stands(self, parser: DocumentParser, tmp_path: Path) -> None:
        document = await parsed(parser, tmp_path, "notes.txt", "One 一.\n\nTwo 👍.\n".encode())

        assert document.text == "One 一.\n\nTwo 👍.\n"
        assert block_texts(document) == ["One 一.", "Two 👍."]
        assert document.file_type == "txt"

    async def test_blocks_are_in_order_and_do_not_overlap(self, parser: DocumentParser, tmp_path: Path) -> None:
        blocks = (await parsed(parser, tmp_path, "guide.md", MARKDOWN.encode())).blocks

        bounds = [bound for block in blocks for bound in (block.start, block.end)]
        assert bounds == sorted(bounds)
        assert all(block.start < block.end for block in blocks)

    async def test_blocks_know_the_headings_above_them(self, parser: DocumentParser, tmp_path: Path) -> None:
        document = await parsed(parser, tmp_path, "guide.md", MARKDOWN.encode())

        headings = {document.text[block.start : block.end]: block.headings for block in document.blocks}
        assert headings["First, 先读这里 👩‍👩‍👧."] == ("Guide",)
        assert headings["Run it."] == ("Guide", "Install")

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
    async def test_encodings_are_told_by_the_content(
        self, parser: DocumentParser, tmp_path: Path, encoding: str
    ) -> None:
        text = "知识库检索测试：第一行。\n价格为 1,234.50 元。"

        assert (await parsed(parser, tmp_path, "zh.txt", text.encode(encoding))).text == text

    async def test_the_text_can_be_stored(self, parser: DocumentParser, tmp_path: Path) -> None:
        document = await parsed(parser, tmp_path, "odd.json", b'{"half": "\\ud800", "nul": "a\\u0000b"}\r\n')

        assert is_storable(document.text)
        assert "\r" not in document.text

    @pytest.mark.parametrize("content", [b"", b" \n\t\r\n", "\ufeff".encode()])
    async def test_a_file_without_text_is_empty(self, parser: DocumentParser, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(DocumentEmpty):
            await parsed(parser, tmp_path, "empty.txt", content)

    @pytest.mark.parametrize("name", ["report.pdf", "report.docx", "report.xlsx", "report.txt", "report.md"])
    async def test_noise_by_any_known_name_is_unreadable(
        self, parser: DocumentParser, tmp_path: Path, name: str
    ) -> None:
        with pytest.raises(DocumentUnreadable):
            await parsed(parser, tmp_path, name, NOISE)

    @pytest.mark.parametrize("name", ["file.bin", "file"])
    async def test_noise_by_any_other_name_is_not_supported(
        self, parser: DocumentParser, tmp_path: Path, name: str
    ) -> None:
        with pytest.raises(UnsupportedDocument):
            await parsed(parser, tmp_path, name, NOISE)

    async def test_what_unpacks_to_a_thousand_times_its_size_is_too_large(
        self, parser: DocumentParser, tmp_path: Path
    ) -> None:
        with pytest.raises(DocumentTooLarge):
            await parsed(parser, tmp_path, "bomb.docx", an_archive_bomb())

    async def test_a_name_full_of_tricks_changes_nothing(self, parser: DocumentParser, tmp_path: Path) -> None:
        file = tmp_path / "stored"
        file.write_bytes(b"text")

        assert (await parser.parse(file, "../../$(touch x)\n.txt")).text == "text"

    async def test_a_bad_file_does_not_harm_those_read_beside_it(self, parser: DocumentParser, tmp_path: Path) -> None:
        names = [f"{number}.{'txt' if number % 2 else 'pdf'}" for number in range(8)]
        results = await asyncio.gather(
            *(parsed(parser, tmp_path, name, b"fine" if name.endswith("txt") else NOISE) for name in names),
            return_exceptions=True,
        )

        assert [result.text for result in results if isinstance(result, ParsedDocument)] == ["fine"] * 4
        assert [type(result) for result in results if isinstance(result, DomainError)] == [DocumentUnreadable] * 4


async def parsed(parser: DocumentParser, folder: Path, name: str, content: bytes) -> ParsedDocument:
    file = folder / name
    file.write_bytes(content)
    return await parser.parse(file, name)


def block_texts(document: ParsedDocument) -> list[str]:
    return [document.text[block.start : block.end] for block in document.blocks]


def an_archive_bomb() -> bytes:
    """A Word document of a third of a megabyte with a part of 300."""
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED, compresslevel=6) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<document/>")
        with archive.open("word/media/image.bin", "w") as part:
            for _ in range(300):
                part.write(bytes(2**20))
    return file.getvalue()
