"""What kind of file it is, by its content; the name only tells one kind of text from another."""

import re
from pathlib import Path, PurePath

from llm_backend.domain.errors import DocumentEncrypted, DocumentUnreadable, UnsupportedDocument
from llm_backend.infrastructure.parsing.archives import office_type
from llm_backend.infrastructure.parsing.decoding import decoded
from llm_backend.infrastructure.parsing.limits import ParsingLimits

TEXT_KINDS = frozenset({"txt", "md", "html", "csv", "tsv", "json", "jsonl", "ipynb"})
WORKBOOKS = frozenset({"xlsx", "xls", "ods"})
_BINARY = frozenset(
    {"pdf", "docx", "pptx", "xlsx", "xls", "doc", "ppt", "odt", "ods", "epub", "rtf", "msg", "docm", "xlsm", "pptm"}
)
_BY_SUFFIX = {
    "txt": "txt",
    "text": "txt",
    "md": "md",
    "markdown": "md",
    "html": "html",
    "htm": "html",
    "xhtml": "html",
    "csv": "csv",
    "tsv": "tsv",
    "json": "json",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "ipynb": "ipynb",
    "eml": "eml",
}
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,2000}?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_STREAMS = (  # the first that occurs decides: documents embed one another
    ("EncryptedPackage", "encrypted"),
    ("__substg1.0_", "msg"),
    ("WordDocument", "doc"),
    ("Workbook", "xls"),
    ("PowerPoint Document", "ppt"),
)
_FOREIGN = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\x1f\x8b", "an archive"),
    (b"7z\xbc\xaf", "an archive"),
    (b"Rar!", "an archive"),
    (b"SQLite format 3", "a database"),
)


def suffix_of(name: str) -> str:
    return PurePath(name).suffix.lower().removeprefix(".")


def kind_of(file: Path, name: str, limits: ParsingLimits) -> str:
    """A short word such as `pdf`. Raises what `DocumentParser.parse` raises."""
    with file.open("rb") as opened:
        head = opened.read(2048)
    if b"%PDF-" in head[:1024] and not head.startswith(_ZIP):
        return "pdf"
    if head.lstrip().startswith(b"{\\rtf"):
        return "rtf"
    if not head.startswith((_ZIP, _OLE)):
        return _text_kind(file, head, suffix_of(name))
    try:
        kind = office_type(file, limits) if head.startswith(_ZIP) else _ole_kind(file.read_bytes())
    except UnsupportedDocument:
        if suffix_of(name) in _BINARY:  # "save it as one of these" would be no help
            raise DocumentUnreadable(f"The file is named .{suffix_of(name)}, but has no such document in it") from None
        raise
    if kind == "xlsb":
        raise UnsupportedDocument("Binary workbooks (.xlsb) cannot be read; save it as .xlsx")
    return kind


def _ole_kind(data: bytes) -> str:
    kind = next((kind for stream, kind in _OLE_STREAMS if stream.encode("utf-16-le") in data), "")
    if kind == "encrypted":
        raise DocumentEncrypted
    if not kind:
        raise UnsupportedDocument
    return kind


def _text_kind(file: Path, head: bytes, suffix: str) -> str:
    if suffix in _BINARY:
        raise DocumentUnreadable(f"The file is named .{suffix}, but that is not what it contains")
    what = next((what for magic, what in _FOREIGN if head.startswith(magic)), "")
    if (what or suffix not in _BY_SUFFIX) and not _is_text(file):
        raise UnsupportedDocument(f"The file is {what or 'no text'}; only documents with text can be read")
    kind = _BY_SUFFIX.get(suffix, "txt")
    if kind == "txt" and _HTML.match(head.decode("latin-1")):
        return "html"
    return kind


def _is_text(file: Path) -> bool:
    try:
        decoded(file.read_bytes())
    except DocumentUnreadable:
        return False
    return True
