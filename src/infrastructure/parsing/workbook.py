"""Sheets of a workbook that kreuzberg 4.10 leaves out without a word: those that spread over millions of cells."""

import re
from io import BytesIO
from zipfile import ZipFile

from llm_backend.domain.errors import DocumentTooLarge

_VALUE = re.compile(rb"<v>[^<\s]|<t[^>]*>[^<\s]")
_ROW = re.compile(rb'<row [^>]*?r="([0-9]{1,7})"')
_FAR = 100_000


def refuse_lost_sheets(data: bytes, sheets_read: int) -> None:
    """Raises `DocumentTooLarge` if fewer sheets were read than have values, and one of them reaches far down."""
    with ZipFile(BytesIO(data)) as archive:
        sheets = [archive.read(name) for name in archive.namelist() if name.startswith("xl/worksheets/sheet")]
    filled = [sheet for sheet in sheets if _VALUE.search(sheet)]
    if len(filled) > sheets_read and any(map(_reaches_far, filled)):
        raise DocumentTooLarge("A sheet spreads over too many cells; delete what lies far away from the table")


def _reaches_far(sheet: bytes) -> bool:
    last = _ROW.search(sheet, max(0, sheet.rfind(b"<row ")))
    return last is not None and int(last[1]) > _FAR
