"""What is read out of files of each kind. In this process: the sandbox has tests of its own."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_backend.domain.chunking import chunks_of
from llm_backend.domain.errors import (
    DocumentEmpty,
    DocumentEncrypted,
    DocumentScanned,
    DocumentTooLarge,
    DocumentUnreadable,
    DomainError,
    UnsupportedDocument,
)
from llm_backend.domain.knowledge import ParsedDocument
from llm_backend.domain.text import is_storable
from llm_backend.infrastructure.parsing.canvas import MOST_BLOCKS
from llm_backend.infrastructure.parsing.limits import ParsingLimits
from llm_backend.infrastructure.parsing.reading import read_document
from tests.files import a_docx, a_pdf, a_pptx, a_scanned_pdf, a_sheet_that_spreads, a_zip, an_xlsx, with_parts

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1024)
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PRESENTATION = "http://schemas.openxmlformats.org/presentationml/2006/main"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
CHART = "http://schemas.openxmlformats.org/drawingml/2006/chart"


def read(folder: Path, name: str, content: bytes | str, limits: ParsingLimits | None = None) -> ParsedDocument:
    file = folder / "stored"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_document(file, name, limits or ParsingLimits())


def blocks(document: ParsedDocument) -> list[tuple[str, tuple[str, ...]]]:
    return [(document.text[block.start : block.end], block.headings) for block in document.blocks]


def pages(document: ParsedDocument) -> list[tuple[str, int | None]]:
    return [(document.text[block.start : block.end], block.page) for block in document.blocks]


# Office --------------------------------------------------------------------------------------------------------------


def test_a_word_document_has_headings_and_paragraphs(tmp_path: Path) -> None:
    document = read(tmp_path, "a.docx", a_docx("# Guide", "Text & 中文.", "## Install", "Run <it>."))

    assert document.file_type == "docx"
    assert blocks(document) == [
        ("Guide", ("Guide",)),
        ("Text & 中文.", ("Guide",)),
        ("Install", ("Guide", "Install")),
        ("Run <it>.", ("Guide", "Install")),
    ]


def test_character_references_in_a_word_document_are_resolved(tmp_path: Path) -> None:
    source = "R&amp;D &lt;b&gt; &quot;q&quot; &#38; &#233; &#x4e2d; &#xd800;&#0;end"
    table = f"<w:tbl><w:tr><w:tc><w:p><w:r><w:t>{source}</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    body = f"<w:body><w:p><w:r><w:t>{source}</w:t></w:r></w:p>{table}</w:body>"
    document = f'<w:document xmlns:w="{WORD}">{body}</w:document>'

    text = read(tmp_path, "a.docx", a_docx(extra={"word/document.xml": document})).text

    assert text == "\n\n".join(['R&D <b> "q" & é 中 end'] * 2)


def test_tabs_and_hyphens_that_do_not_break_stay_between_words(tmp_path: Path) -> None:
    run = "<w:r><w:t>one</w:t><w:tab/><w:t>two</w:t><w:noBreakHyphen/><w:t>three</w:t></w:r>"
    document = f'<w:document xmlns:w="{WORD}"><w:body><w:p>{run}</w:p></w:body></w:document>'

    assert read(tmp_path, "a.docx", a_docx(extra={"word/document.xml": document})).text == "one two-three"


def test_a_presentation_has_slides_as_pages_and_their_titles_as_headings(tmp_path: Path) -> None:
    document = read(tmp_path, "a.pptx", a_pptx(["Start", "Hello **there**"], ["End", "Bye"]))

    assert pages(document) == [("Start", 1), ("Hello there", 1), ("End", 2), ("Bye", 2)]
    assert blocks(document)[-1] == ("Bye", ("End",))


def test_a_workbook_has_sheets_as_headings_and_rows_as_blocks(tmp_path: Path) -> None:
    document = read(tmp_path, "a.xlsx", an_xlsx({"Staff": [["name", "age"], ["Ann", "30"]], "R&D": [["x"]]}))

    assert blocks(document) == [
        ("Staff", ("Staff",)),
        ("name | age", ("Staff", "name | age")),
        ("Ann | 30", ("Staff", "name | age")),
        ("R&D", ("R&D",)),
        ("x", ("R&D",)),
    ]
    assert [block.sheet for block in document.blocks] == ["Staff"] * 3 + ["R&D"] * 2


def test_sheets_without_values_are_left_out_and_numbers_and_days_are_plain(tmp_path: Path) -> None:
    styles = '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs>'
    cells = (
        '<c r="A1"><v>10</v></c><c r="B1"><v>1.5</v></c><c r="C1" t="b"><v>1</v></c><c r="D1" s="1"><v>45356</v></c>'
    )
    sheet = f'<worksheet xmlns="{SHEET}"><sheetData><row r="1">{cells}</row></sheetData></worksheet>'

    document = read(
        tmp_path,
        "a.xlsx",
        with_parts(
            an_xlsx({"Full": [["x"]], "Empty": []}),
            {"xl/worksheets/sheet1.xml": sheet, "xl/styles.xml": f'<styleSheet xmlns="{SHEET}">{styles}</styleSheet>'},
        ),
    )

    assert document.text == "Full\n\n10 | 1.5 | true | 2024-03-05"


def test_what_is_written_below_a_slide_comes_after_it(tmp_path: Path) -> None:
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/notesSlide"
    names = " ".join(f'xmlns:{short}="{name}"' for short, name in (("p", PRESENTATION), ("a", DRAWING)))
    shapes = "".join(
        f'<p:sp><p:nvSpPr><p:nvPr><p:ph type="{place}"/></p:nvPr></p:nvSpPr>'
        f"<p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
        for place, text in (("body", "Breathe."), ("sldNum", "1"))
    )
    parts = {
        "ppt/slides/_rels/slide1.xml.rels": f'<Relationships xmlns="{relations}"><Relationship Id="rId1" '
        f'Type="{kind}" Target="../notesSlides/notesSlide1.xml"/></Relationships>',
        "ppt/notesSlides/notesSlide1.xml": f"<p:notes {names}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:notes>",
    }

    document = read(tmp_path, "a.pptx", with_parts(a_pptx(["Start", "Hello"], ["End", "Bye"]), parts))

    assert pages(document) == [("Start", 1), ("Hello", 1), ("Breathe.", 1), ("End", 2), ("Bye", 2)]


def test_a_long_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    lines = "\n".join(f"Line {number} of a page that has a good many lines of text on it." for number in range(50))
    noise = "".join(chr(33 + (number * number) % 90) for number in range(2000))  # so that it is long enough

    document = read(tmp_path, "a.pdf", a_pdf(*(f"Page {number}\n{lines}\n{noise}" for number in range(1, 302))))

    assert len(document.blocks) == 301
    assert document.blocks[299].page == 300
    assert document.text[document.blocks[299].start :].startswith("Page 300\nLine 0 of a page")


def test_the_first_line_of_a_pdf_is_not_lost(tmp_path: Path) -> None:
    moved = a_pdf("Top line", "Other page").replace(b"MediaBox [0 0 595 842]", b"MediaBox [0 0 595 795]")

    assert read(tmp_path, "a.pdf", moved).text == "Top line\n\nOther page"


def test_a_pdf_has_pages_and_its_lines_are_joined_to_paragraphs(tmp_path: Path) -> None:
    first = "The quick brown fox jumps over the lazy dog and\nruns away from the hunter who has been waiting\nfor it."

    document = read(tmp_path, "a.pdf", a_pdf(f"{first}\n\nSecond (and last).", "Café"))

    assert pages(document) == [(first.replace("\n", " "), 1), ("Second (and last).", 1), ("Café", 2)]


def test_punctuation_in_a_pdf_is_not_taken_for_ligatures(tmp_path: Path) -> None:
    text = "The price* of page.html#top is a*b, C# and R&D!"

    assert read(tmp_path, "a.pdf", a_pdf(text)).text == text


def test_ligatures_of_a_broken_font_are_repaired(tmp_path: Path) -> None:
    text = 'Three di!erent o"ces use e!ective tools.'

    assert read(tmp_path, "a.pdf", a_pdf(text)).text == "Three different offices use effective tools."


def test_charts_are_read_as_tables(tmp_path: Path) -> None:
    def values(role: str, *texts: str) -> str:
        return f"<c:{role}>{''.join(f'<c:pt><c:v>{text}</c:v></c:pt>' for text in texts)}</c:{role}>"

    series = f"<c:ser>{values('tx', 'Sales')}{values('cat', '2025', '2026')}{values('val', '10', '20')}</c:ser>"
    chart = f"<c:chart><c:plotArea><c:barChart>{series}</c:barChart></c:plotArea></c:chart>"
    part = f'<c:chartSpace xmlns:c="{CHART}">{chart}</c:chartSpace>'

    document = read(tmp_path, "a.docx", a_docx("Text.", extra={"word/charts/chart1.xml": part}))

    assert document.text == "Text.\n\nBar chart\n\n| Sales\n2025 | 10\n2026 | 20"


def test_an_opendocument_text_has_headings(tmp_path: Path) -> None:
    names = " ".join(f'xmlns:{n}="urn:oasis:names:tc:opendocument:xmlns:{n}:1.0"' for n in ("office", "text"))
    text = '<text:h text:outline-level="1">Head</text:h><text:p>R&amp;D</text:p>'
    body = f"<office:body><office:text>{text}</office:text></office:body>"
    content = f"<office:document-content {names}>{body}</office:document-content>"
    parts = {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content}

    document = read(tmp_path, "a.odt", a_zip(parts))

    assert document.file_type == "odt"
    assert blocks(document) == [("Head", ("Head",)), ("R&D", ("Head",))]


def test_a_book_begins_with_what_it_says_of_itself(tmp_path: Path) -> None:
    rootfiles = '<rootfiles><rootfile full-path="b.opf"/></rootfiles>'
    names = "urn:oasis:names:tc:opendocument:xmlns:container"
    about = "<dc:title>The Book</dc:title><dc:creator>Ann Author</dc:creator><dc:description>On books.</dc:description>"
    package = (
        f'<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{about}'
        '</metadata><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": f'<container xmlns="{names}">{rootfiles}</container>',
        "b.opf": package,
        "a.xhtml": "<!DOCTYPE html><html xmlns='http://www.w3.org/1999/xhtml'><body><h1>One</h1><p>Text.</p></body></html>",
    }

    document = read(tmp_path, "a.epub", a_zip(parts))

    assert document.title == "The Book"
    assert document.text == "The Book\nAuthors: Ann Author\nOn books.\n\nOne\n\nText."


def test_rich_text_is_read(tmp_path: Path) -> None:
    document = read(tmp_path, "a.rtf", r"{\rtf1\ansi First.\par \u20013?second.}")

    assert document.file_type == "rtf"
    assert document.text == "First.\n\n中second."


def test_a_file_is_read_as_what_it_is_whatever_it_is_called(tmp_path: Path) -> None:
    assert read(tmp_path, "report.docx", a_pdf("Really a PDF")).file_type == "pdf"
    assert read(tmp_path, "notes.txt", a_docx("Really Word")).file_type == "docx"
    assert read(tmp_path, "page", "<!DOCTYPE html><p>Really HTML").file_type == "html"


# Text ----------------------------------------------------------------------------------------------------------------


def test_markdown_is_kept_as_it_stands_with_its_structure_beside_it(tmp_path: Path) -> None:
    source = (
        "Title\n=====\n\npara one\nstill one\n## Sub ##\n```py\n# no heading\n\nx = 1\n```\nafter\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n"
    )

    document = read(tmp_path, "a.md", source)

    assert document.text == source
    assert document.title == "Title"
    assert blocks(document) == [
        ("Title\n=====", ("Title",)),
        ("para one\nstill one", ("Title",)),
        ("## Sub ##", ("Title", "Sub")),
        ("```py\n# no heading\n\nx = 1\n```\nafter", ("Title", "Sub")),
        ("| a | b |", ("Title", "Sub", "| a | b |")),
        ("|---|---|", ("Title", "Sub", "| a | b |")),
        ("| 1 | 2 |", ("Title", "Sub", "| a | b |")),
    ]


def test_html_keeps_what_one_sees_and_drops_the_rest(tmp_path: Path) -> None:
    source = """<html><head><title>A  page</title><style>p {}</style><body><nav>Menu</nav><h1>Big <b>one</b></h1>
    loose text<p>A <i>para</i>graph &lt;x&gt;<br>new line<ul><li>first<li>second</ul><script>alert(1)</script>
    <table><tr><th>k<th>v<tr><td>a<td>1</table><pre>x
  y</pre><h2>Sub</h2><blockquote>quoted</blockquote>tail"""

    document = read(tmp_path, "a.html", source)

    assert document.title == "A page"
    assert document.text == (
        "Big one\n\nloose text\n\nA paragraph <x>\nnew line\n- first\n- second\n\nk | v\na | 1\n\nx\n  y\n\n"
        "Sub\n\nquoted\n\ntail"
    )
    assert blocks(document)[-1] == ("tail", ("Big one", "Sub"))


def test_html_is_decoded_as_it_declares(tmp_path: Path) -> None:
    page = "<meta charset='windows-1251'><p>Привет, мир</p>".encode("cp1251")

    assert read(tmp_path, "a.html", page).text == "Привет, мир"


def test_rows_of_a_csv_are_blocks_under_the_first_row(tmp_path: Path) -> None:
    document = read(tmp_path, "a.csv", 'name;note\r\nAnn;"says ""hi"";\nand more"\r\n;\r\nBob;x\r\n')

    header = ("name | note",)
    assert blocks(document) == [("name | note", header), ('Ann | says "hi"; and more', header), ("Bob | x", header)]


def test_json_is_laid_out_and_its_escapes_are_resolved(tmp_path: Path) -> None:
    document = read(tmp_path, "a.json", r'{"a": "\u4e2d\u6587", "b": {"c": [1, 2.50]}}')

    assert json.loads(document.text) == {"a": "中文", "b": {"c": [1, 2.5]}}
    assert blocks(document)[0][0].strip("{} \n,") == '"a": "中文"'
    assert len(document.blocks) == 2


@pytest.mark.parametrize("source", ["{not json", "[" * 100_000, "1" * 5000])
def test_what_is_no_sane_json_is_kept_as_it_stands(tmp_path: Path, source: str) -> None:
    assert read(tmp_path, "a.json", source).text == source


def test_each_line_of_json_lines_is_a_block(tmp_path: Path) -> None:
    document = read(tmp_path, "a.jsonl", '{"a":"\\u00e9"}\n\nbroken\n')

    assert [text for text, _ in blocks(document)] == ['{"a": "é"}', "broken"]


def test_a_notebook_is_read_as_text_code_and_output(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"text": ["1\n"]}, {"data": {"text/plain": "2"}}]},
    ]

    document = read(tmp_path, "a.ipynb", json.dumps({"cells": cells}))

    assert document.text == "# Title\nwords\n\n```python\nprint(1)\n```\n\n1\n\n\n2"
    assert document.file_type == "ipynb"


def test_an_e_mail_is_read_with_its_head(tmp_path: Path) -> None:
    mail = "From: a@example.com\nTo: b@example.com\nSubject: Lunch\nMIME-Version: 1.0\n\nAt noon?\n"

    document = read(tmp_path, "a.eml", mail)

    assert "Subject: Lunch" in document.text
    assert "At noon?" in document.text


CARRYING = b"""Content-Type: multipart/mixed; boundary=x

--x
Content-Type: multipart/alternative; boundary=y

--y
Content-Type: text/plain

plain
--y
Content-Type: text/html

<p>rich
--y--
--x
Content-Type: image/png
Content-Disposition: attachment; filename="cat.png"

x
--x
Content-Type: message/rfc822

Subject: Inner

inside
--x--
"""
MAIL = "From: Ann <a@example.com>\nSubject: =?gb2312?B?1vfM4g==?=\nMIME-Version: 1.0\n"


@pytest.mark.parametrize(
    ("rest", "text"),
    [
        ("Content-Type: text/plain; charset=gb2312\n\n国标正文".encode("gb2312"), "国标正文"),
        ("Content-Type: text/plain; charset=iso-2022-jp\n\n日本語".encode("iso-2022-jp"), "日本語"),
        (b"Content-Type: text/plain; charset=nonsense\n\nna\xc3\xafve", "naïve"),
        (b"Content-Type: text/html\n\n<h1>Head</h1><p>Text &amp; more", "Head\n\nText & more"),
        (b"Content-Type: multipart/mixed; boundary=x\n\nnever ends", ""),
        (
            CARRYING,
            "plain\n- cat.png\n\nSubject: Inner\n\ninside",
        ),
    ],
)
def test_an_e_mail_is_read_however_it_is_written_down(tmp_path: Path, rest: bytes, text: str) -> None:
    document = read(tmp_path, "a.eml", MAIL.encode() + rest)

    assert document.text == f"Subject: 主题\nFrom: Ann <a@example.com>\n\n{text}".strip()
    assert document.title == "主题"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-16-le", "Plain English, no mark"),
        ("utf-16-be", "知识库检索测试，第一行。\n第二行。"),
        ("utf-32", "Hi 中"),
        ("gb18030", "你好"),
        ("big5", "這是一個繁體中文的測試檔案，內容很短。"),
        ("shift_jis", "これは日本語のテキストです。漢字も少し。"),
        ("euc_kr", "이것은 한국어 텍스트 문서입니다. 검색이 잘 되어야 합니다."),
        ("cp1251", "Это русский текст, и он должен читаться."),
        ("koi8_r", "Это русский текст, и он должен читаться."),
        ("cp1252", "Ärger über Öl – “café”, naïve señor"),
    ],
)
def test_encodings_without_a_mark_are_guessed(tmp_path: Path, encoding: str, text: str) -> None:
    assert read(tmp_path, "a.txt", text.encode(encoding)).text == text


def test_nuls_in_a_text_are_dropped_and_line_ends_are_made_one(tmp_path: Path) -> None:
    assert read(tmp_path, "a.txt", b"a\0b\r\nc\rd\x0ce").text == "ab\nc\nd\ne"


def test_a_million_short_lines_are_not_a_million_blocks(tmp_path: Path) -> None:
    document = read(tmp_path, "a.txt", "a\n\n" * 300_000)

    assert len(document.blocks) <= MOST_BLOCKS
    assert document.blocks[-1].end == len(document.text) - 2


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.docx", a_docx(), DocumentEmpty),
        ("a.pdf", a_pdf(""), DocumentEmpty),
        ("a.pdf", a_scanned_pdf(), DocumentScanned),
        ("a.docx", a_docx(extra={"word/media/image1.png": b"\x89PNG"}), DocumentScanned),
        ("a.docx", a_docx("text")[:-40], DocumentUnreadable),
        ("a.xlsx", an_xlsx({"S": [["x"]]})[:300], DocumentUnreadable),
        ("a.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 9, DocumentUnreadable),
        ("a.pdf", b"just words", DocumentUnreadable),
        ("a.doc", OLE + "WordDocument".encode("utf-16-le"), DocumentUnreadable),
        ("a.doc", OLE + bytes(100), DocumentUnreadable),
        ("a.docx", a_zip({"a.txt": "text"}), DocumentUnreadable),
        ("a.docx", OLE + "EncryptedPackage".encode("utf-16-le"), DocumentEncrypted),
        ("a.ipynb", "[]", DocumentUnreadable),
        ("a.zip", a_zip({"a.txt": "text"}), UnsupportedDocument),
        ("a.xlsb", a_zip({"[Content_Types].xml": "<a/>", "xl/workbook.bin": "b"}), UnsupportedDocument),
        (
            "a.xlsx",
            a_zip({"[Content_Types].xml": "<a/>", "xl/workbook.bin": "b", "xl/a.xml": "<a/>"}),
            UnsupportedDocument,
        ),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), UnsupportedDocument),
        ("a.db", OLE + bytes(100), UnsupportedDocument),
    ],
    ids=lambda value: value if isinstance(value, str) else "" if isinstance(value, bytes) else value.__name__,
)
def test_what_cannot_be_read_is_refused_for_its_reason(
    tmp_path: Path, name: str, content: bytes | str, error: type[DomainError]
) -> None:
    with pytest.raises(error):
        read(tmp_path, name, content)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_office_documents_with_declarations_are_refused(tmp_path: Path, encoding: str) -> None:
    declared = f'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><w:document xmlns:w="{WORD}">&a;</w:document>'

    with pytest.raises(DocumentUnreadable):
        read(tmp_path, "a.docx", a_docx(extra={"word/document.xml": declared.encode(encoding)}))


def test_an_archive_with_too_many_parts_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooLarge):
        read(tmp_path, "a.docx", a_docx("x", extra={f"p{n}": "" for n in range(20)}), ParsingLimits(parts=20))


def test_the_sizes_that_an_archive_declares_are_not_believed(tmp_path: Path) -> None:
    honest = a_docx("x", extra={"word/media/big.bin": bytes(2**21)})
    liar = honest.replace((2**21).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert liar != honest

    with pytest.raises(DocumentTooLarge):
        read(tmp_path, "a.docx", liar, ParsingLimits(unpacked=2**20))


def test_a_sheet_that_spreads_far_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "a.xlsx", a_sheet_that_spreads(100_000, "B")).text == "S\n\n1\n| 3"


def test_a_password_on_an_archive_is_noticed(tmp_path: Path) -> None:
    protected = bytearray(a_docx("x"))
    entry = protected.index(b"PK\x01\x02")
    protected[entry + 8] |= 1

    with pytest.raises(DocumentEncrypted):
        read(tmp_path, "a.docx", bytes(protected))


def test_more_text_than_allowed_is_too_large(tmp_path: Path) -> None:
    for name, content in [("a.txt", b"x" * 101), ("a.docx", a_docx("x" * 101)), ("a.csv", b"x" * 101)]:
        with pytest.raises(DocumentTooLarge):
            read(tmp_path, name, content, ParsingLimits(characters=100))


# What holds for all --------------------------------------------------------------------------------------------------

SUFFIXES = ["txt", "md", "html", "csv", "tsv", "json", "jsonl", "ipynb", "eml", "", "xyz"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.sampled_from(SUFFIXES).map("a.{}".format),
    content=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.text(alphabet="#|`<>/tdrpli= \n\r\"'{}[],:1a中", max_size=200).map(str.encode),
    ),
)
def test_any_bytes_give_storable_text_with_blocks_in_order_or_a_reason(
    tmp_path: Path, name: str, content: bytes
) -> None:
    try:
        document = read(tmp_path, name, content)
    except DomainError:
        return

    assert is_storable(document.text)
    assert "\r" not in document.text
    bounds = [bound for block in document.blocks for bound in (block.start, block.end)]
    assert bounds == sorted(bounds)
    assert bounds[-1] <= len(document.text)
    assert all(document.text[chunk.start : chunk.end] == chunk.text for chunk in chunks_of(document))
