"""What is inside a ZIP file, established without trusting what it says of itself."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from llm_backend.domain.errors import DocumentEncrypted, DocumentTooLarge, DocumentUnreadable, UnsupportedDocument
from llm_backend.infrastructure.parsing.limits import ParsingLimits

_STEP = 2**16
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1
_BOMB_RATIO, _BOMB_SIZE = 250, 2**24  # sheets of equal rows reach 100 : 1
_FOLDERS = {"word": "docx", "ppt": "pptx", "xl": "xlsx"}
_MIMETYPES = {
    b"application/epub+zip": "epub",
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods",
}
_MARKUP = (".xml", ".rels", ".vml", ".xhtml", ".html", ".opf", ".ncx")
_DECLARATIONS = {"epub": (b"<!ENTITY",), "odt": (b"<!ENTITY",), "ods": (b"<!ENTITY",)}


def office_type(file: Path, limits: ParsingLimits) -> str:
    """`docx`, `pptx`, `xlsx`, `xlsb`, `odt`, `ods` or `epub`, once all its parts have been looked through.

    Raises `DocumentTooLarge`, `DocumentEncrypted`, `DocumentUnreadable` and, for any other archive,
    `UnsupportedDocument`.
    """
    try:
        with file.open("rb") as raw, ZipFile(raw) as archive:
            entries = archive.infolist()
            if len(entries) > limits.parts:
                raise DocumentTooLarge(f"The document has more than {limits.parts:,} parts")
            if any(entry.flag_bits & _ENCRYPTED for entry in entries):
                raise DocumentEncrypted
            kind = _kind(archive)
            _look_through(archive, _DECLARATIONS.get(kind, (b"<!DOCTYPE", b"<!ENTITY")), limits.unpacked)
            return kind
    except (BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise DocumentUnreadable("The document is damaged: its archive cannot be unpacked") from error


def _kind(archive: ZipFile) -> str:
    names = set(archive.namelist())
    if "[Content_Types].xml" in names:
        if "xl/workbook.bin" in names:
            return "xlsb"
        folders = {name.partition("/")[0] for name in names if name.endswith(".xml")}
        for folder, kind in _FOLDERS.items():
            if folder in folders:
                return kind
    if "mimetype" in names:
        with archive.open("mimetype") as stream:
            declared = _MIMETYPES.get(stream.read(100).strip())
        if declared:
            return declared
    raise UnsupportedDocument("Archives cannot be read; upload the documents in it one by one")


def _look_through(archive: ZipFile, forbidden: tuple[bytes, ...], most: int) -> None:
    left = most
    for entry in archive.infolist():
        markup = entry.filename.lower().endswith(_MARKUP)
        size, tail = 0, b""
        for piece in _unpacked(archive, entry):
            size += len(piece)
            if size > left or size > max(_BOMB_SIZE, entry.compress_size * _BOMB_RATIO):
                raise DocumentTooLarge("The document unpacks to more than the limit")
            if markup:
                tail = _refuse_declarations(tail + piece, forbidden)
        left -= size


def _refuse_declarations(piece: bytes, forbidden: tuple[bytes, ...]) -> bytes:
    """Document type definitions can name files and swell to gigabytes; Office never writes any."""
    plain = piece.replace(b"\x00", b"").upper()  # UTF-16 as well
    if any(declaration in plain for declaration in forbidden):
        raise DocumentUnreadable("The document contains XML declarations that no office program writes")
    if b"ENCRYPTION-DATA" in plain:  # OpenDocument's way of saying it
        raise DocumentEncrypted
    return piece[-64:]


def _unpacked(archive: ZipFile, entry: ZipInfo) -> Iterator[bytes]:
    """All that an unpacker finds in an entry. `ZipFile.open` stops at the size that the file itself declares."""
    raw = archive.fp
    if raw is None or entry.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        raise DocumentUnreadable("The document is compressed in a way that no office program uses")
    raw.seek(entry.header_offset)
    header = raw.read(_LOCAL_HEADER)
    if header[:4] != b"PK\x03\x04":
        raise BadZipFile
    raw.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
    unpacker = zlib.decompressobj(-15) if entry.compress_type == ZIP_DEFLATED else None
    left = entry.compress_size
    while left > 0:
        packed = raw.read(min(_STEP, left))
        if not packed:
            raise EOFError
        left -= len(packed)
        yield from _inflated(unpacker, packed) if unpacker else [packed]


def _inflated(
    unpacker: "zlib._Decompress",  # pyright: ignore[reportPrivateUsage] - the type has no public name
    packed: bytes,
) -> Iterator[bytes]:
    while packed and not unpacker.eof:
        yield unpacker.decompress(packed, _STEP)
        packed = unpacker.unconsumed_tail
