"""Reading one file, in whatever process this is called."""

from pathlib import Path

from llm_backend.domain.errors import DocumentEmpty
from llm_backend.domain.knowledge import ParsedDocument
from llm_backend.infrastructure.parsing.decoding import decoded
from llm_backend.infrastructure.parsing.detection import TEXT_KINDS, WORKBOOKS, kind_of
from llm_backend.infrastructure.parsing.html import declared_charset
from llm_backend.infrastructure.parsing.limits import ParsingLimits
from llm_backend.infrastructure.parsing.mail import read_mail
from llm_backend.infrastructure.parsing.plain import read_text


def read_document(file: Path, name: str, limits: ParsingLimits) -> ParsedDocument:
    """Keeps the promises of `DocumentParser.parse`, except those about time and memory."""
    if file.stat().st_size == 0:
        raise DocumentEmpty("The file is empty")
    kind = kind_of(file, name, limits)
    data = file.read_bytes()
    if kind in TEXT_KINDS:
        declared = declared_charset(data) if kind == "html" else ""
        return read_text(kind, decoded(data, declared), limits.characters)
    if kind == "eml":
        return read_mail(data, limits.characters)
    if kind in WORKBOOKS:
        from llm_backend.infrastructure.parsing.workbooks import read_workbook

        return read_workbook(kind, data, limits.characters)
    from llm_backend.infrastructure.parsing.office import read_office

    return read_office(kind, data, limits.characters)
