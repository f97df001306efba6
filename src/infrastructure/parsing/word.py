"""What kreuzberg 4.10 drops from Word documents: `R&amp;D` would become `RD`, and two words with a tab between one.

Character references are replaced by private characters before it reads the document, and by what they mean afterwards;
tabs are replaced by blanks.
"""

import re
from io import BytesIO
from zipfile import ZIP_STORED, ZipFile

_REFERENCE = re.compile(rb"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6}));")
_TAB = re.compile(rb"<w:tab\s*/>|<w:ptab\b[^>]*/>")  # tab stops are `<w:tab w:val=...>`
_HYPHEN = re.compile(rb"<w:noBreakHyphen\s*/>")
_NAMED = {b"amp": "&", b"lt": "<", b"gt": ">", b"quot": '"', b"apos": "'"}
_PRIVATE = 0x10FF00  # the last private plane; the offset is the character meant
_BACK = {_PRIVATE + ord(meant): meant for meant in _NAMED.values()}


def mended(data: bytes) -> bytes:
    """The same document with private characters in place of `&amp;`, `&lt;` and the like, and without its pictures."""
    file = BytesIO()
    with ZipFile(BytesIO(data)) as old, ZipFile(file, "w", ZIP_STORED) as new:
        for name in old.namelist():
            if name.startswith("word/media/"):
                new.writestr(name, b"")
            elif name.startswith("word/") and name.endswith(".xml"):
                new.writestr(name, _REFERENCE.sub(_replacement, _with_gaps_as_text(old.read(name))))
            else:
                new.writestr(name, old.read(name))
    return file.getvalue()


def _with_gaps_as_text(part: bytes) -> bytes:
    return _HYPHEN.sub(b"<w:t>-</w:t>", _TAB.sub(b'<w:t xml:space="preserve"> </w:t>', part))


def resolved(text: str) -> str:
    return text if text.isascii() else text.translate(_BACK)


def _replacement(found: re.Match[bytes]) -> bytes:
    named, decimal, hexadecimal = found.groups()
    code = ord(_NAMED[named]) if named else int(decimal) if decimal else int(hexadecimal, 16)
    if _PRIVATE + code in _BACK:
        return chr(_PRIVATE + code).encode()
    is_text = 0x20 <= code < 0x110000 or code in {9, 10}
    return chr(code).encode(errors="ignore") if is_text else b""
