"""Whether a document without text has pictures at least, as scanned ones have."""

import re
from io import BytesIO
from zipfile import ZipFile

# The dictionary of a picture stands in the open: PDF forbids to hide it in a compressed object.
_IN_PDF = re.compile(rb"/Subtype\s*/Image\b|\bBI\s.{1,2000}?\sID\s", re.DOTALL)
_FILES = (".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".bmp", ".emf", ".wmf", ".webp", ".svg")


def has_pictures(data: bytes) -> bool:
    if data.startswith(b"PK\x03\x04"):
        with ZipFile(BytesIO(data)) as archive:
            return any(name.lower().endswith(_FILES) for name in archive.namelist())
    return b"%PDF-" in data[:1024] and _IN_PDF.search(data) is not None
