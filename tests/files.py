"""Small real files of the formats that people upload, made byte by byte."""

import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_P = "http://schemas.openxmlformats.org/presentationml/2006/main"
_A = "http://schemas.openxmlformats.org/drawingml/2006/main"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def a_zip(parts: Mapping[str, str | bytes]) -> bytes:
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def with_parts(archive: bytes, parts: Mapping[str, str | bytes]) -> bytes:
    """The same office document with some of its parts replaced, or more of them."""
    with ZipFile(BytesIO(archive)) as old:
        return a_zip({**{name: old.read(name) for name in old.namelist()}, **parts})


def a_docx(*paragraphs: str, extra: Mapping[str, str | bytes] | None = None) -> bytes:
    """A Word document; a paragraph that begins with `# ` or `## ` is a heading. `extra` adds or replaces parts."""
    body = "".join(map(_word_paragraph, paragraphs))
    return a_zip(
        {
            "[Content_Types].xml": _content_types({"/word/document.xml": "wordprocessingml.document.main"}),
            "_rels/.rels": _relations({"rId1": ("officeDocument", "word/document.xml")}),
            "word/document.xml": f'{_DECLARATION}<w:document xmlns:w="{_W}"><w:body>{body}</w:body></w:document>',
            **(extra or {}),
        }
    )


def a_pptx(*slides: Sequence[str]) -> bytes:
    """A presentation; the first string of a slide is its title."""
    names = [f"slides/slide{number}.xml" for number in range(1, len(slides) + 1)]
    ids = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in range(1, len(slides) + 1))
    presentation = f'<p:presentation xmlns:p="{_P}" xmlns:r="{_R}"><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>'
    types = {f"/ppt/{name}": "presentationml.slide" for name in names}
    return a_zip(
        {
            "[Content_Types].xml": _content_types(
                {"/ppt/presentation.xml": "presentationml.presentation.main", **types}
            ),
            "_rels/.rels": _relations({"rId1": ("officeDocument", "ppt/presentation.xml")}),
            "ppt/presentation.xml": _DECLARATION + presentation,
            "ppt/_rels/presentation.xml.rels": _relations(
                {f"rId{n}": ("slide", name) for n, name in enumerate(names, 1)}
            ),
            **{f"ppt/{name}": _slide(*texts) for name, texts in zip(names, slides, strict=True)},
        }
    )


def an_xlsx(sheets: Mapping[str, Sequence[Sequence[str]]]) -> bytes:
    """A workbook: sheets by name, each a list of rows."""
    names = [f"worksheets/sheet{number}.xml" for number in range(1, len(sheets) + 1)]
    listed = "".join(
        f'<sheet name="{escape(sheet)}" sheetId="{n}" r:id="rId{n}"/>' for n, sheet in enumerate(sheets, 1)
    )
    types = {f"/xl/{name}": "spreadsheetml.worksheet" for name in names}
    workbook = f'<workbook xmlns="{_S}" xmlns:r="{_R}"><sheets>{listed}</sheets></workbook>'
    return a_zip(
        {
            "[Content_Types].xml": _content_types({"/xl/workbook.xml": "spreadsheetml.sheet.main", **types}),
            "_rels/.rels": _relations({"rId1": ("officeDocument", "xl/workbook.xml")}),
            "xl/workbook.xml": _DECLARATION + workbook,
            "xl/_rels/workbook.xml.rels": _relations(
                {f"rId{n}": ("worksheet", name) for n, name in enumerate(names, 1)}
            ),
            **{f"xl/{name}": _sheet(rows) for name, rows in zip(names, sheets.values(), strict=True)},
        }
    )


def a_sheet_that_spreads(row: int, column: str) -> bytes:
    """A workbook with a value at A1, and one far away."""
    cells = f'<row r="1"><c r="A1"><v>1</v></c></row><row r="{row}"><c r="{column}{row}"><v>3</v></c></row>'
    sheet = f'<worksheet xmlns="{_S}"><sheetData>{cells}</sheetData></worksheet>'
    return with_parts(an_xlsx({"S": [["x"]]}), {"xl/worksheets/sheet1.xml": sheet})


def a_pdf(*pages: str) -> bytes:
    """A PDF with one page per string, in Latin letters; an empty line begins a new paragraph."""
    first_page = 4
    kids = " ".join(f"{first_page + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, page in enumerate(pages):
        contents = first_page + 2 * number + 1
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {contents} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(a_pdf_stream(_pdf_text(page)))
    return a_pdf_of(objects)


def a_scanned_pdf() -> bytes:
    """A PDF of one page, with a picture on it and no text."""
    picture = a_pdf_stream(bytes(8)).replace(
        b"<<", b"<< /Type /XObject /Subtype /Image /Width 8 /Height 8 /ColorSpace /DeviceGray /BitsPerComponent 1", 1
    )
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R "
        b"/Resources << /XObject << /P 4 0 R >> >> >>"
    )
    return a_pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            page,
            picture,
            a_pdf_stream(b"595 0 0 842 0 0 cm /P Do"),
        ]
    )


def a_pdf_stream(content: bytes) -> bytes:
    packed = zlib.compress(content)
    return b"<< /Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream" % (len(packed), packed)


def a_pdf_of(objects: Sequence[bytes]) -> bytes:
    """A PDF of these objects, numbered from 1; the first is the catalogue."""
    file, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    start = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for offset in offsets:
        file += b"%010d 00000 n \n" % offset
    file += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(file)


def _pdf_text(page: str) -> bytes:
    lines = (line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)") for line in page.split("\n"))
    shown = "\n".join(f"({line}) Tj T*" for line in lines)
    return f"BT /F1 11 Tf 14 TL 50 790 Td\n{shown}\nET".encode("cp1252")


def _word_paragraph(text: str) -> str:
    marks, _, words = text.partition(" ")
    level = len(marks) if set(marks) == {"#"} else 0
    style = f'<w:pPr><w:pStyle w:val="Heading{level}"/></w:pPr>' if level else ""
    return f'<w:p>{style}<w:r><w:t xml:space="preserve">{escape(words if level else text)}</w:t></w:r></w:p>'


def _slide(*texts: str) -> str:
    shapes = "".join(
        f'<p:sp><p:nvSpPr><p:cNvPr id="{n + 2}" name="shape {n}"/><p:cNvSpPr/>'
        f'<p:nvPr><p:ph type="{"body" if n else "title"}"/></p:nvPr></p:nvSpPr><p:spPr/>'
        f"<p:txBody><a:bodyPr/><a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p></p:txBody></p:sp>"
        for n, text in enumerate(texts)
    )
    return (
        f'{_DECLARATION}<p:sld xmlns:p="{_P}" xmlns:a="{_A}"><p:cSld><p:spTree><p:nvGrpSpPr><p:cNvPr id="1" name=""/>'
        f"<p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>{shapes}</p:spTree></p:cSld></p:sld>"
    )


def _sheet(rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(
        f'<row r="{y}">'
        + "".join(
            f'<c r="{chr(ord("A") + x)}{y}" t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
            for x, cell in enumerate(row)
        )
        + "</row>"
        for y, row in enumerate(rows, 1)
    )
    return f'{_DECLARATION}<worksheet xmlns="{_S}"><sheetData>{cells}</sheetData></worksheet>'


def _content_types(parts: Mapping[str, str]) -> str:
    kinds = "application/vnd.openxmlformats-officedocument"
    overrides = "".join(
        f'<Override PartName="{name}" ContentType="{kinds}.{kind}+xml"/>' for name, kind in parts.items()
    )
    defaults = (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
    )
    return f'{_DECLARATION}<Types xmlns="{_PACKAGE}/content-types">{defaults}{overrides}</Types>'


def _relations(targets: Mapping[str, tuple[str, str]]) -> str:
    inner = "".join(
        f'<Relationship Id="{id_}" Type="{_R}/{kind}" Target="{target}"/>' for id_, (kind, target) in targets.items()
    )
    return f'{_DECLARATION}<Relationships xmlns="{_PACKAGE}/relationships">{inner}</Relationships>'
